"""Writes tiny.gguf, a random llama of two layers quantised as llama.cpp does, and tiny.json, its logits in float64 worked
out from the GGUF conventions themselves (interleaved rotary pairs); tiny-qwen2 the same for qwen2 (rotary pairs half a head
apart, biases, its own head), tiny-llama3 for Llama 3.2 (divided frequencies). Needs gguf 0.19.0 and numpy. The output is
committed."""
import json
import math

import numpy as np
from gguf import GGMLQuantizationType as Q, GGUFWriter, dequantize, quantize

D, F, L, H, KV, HD, EPS, THETA = 64, 96, 2, 4, 2, 16, 1e-5, 100000.0


def llama3_divisors(factor, low=1.0, high=4.0, original=8192):
    """As llama.cpp's converter computes them."""
    out = []
    for i in range(0, HD, 2):
        wave = 2 * math.pi * THETA ** (i / HD)
        if wave < original / high:
            out.append(1.0)
        elif wave > original / low:
            out.append(factor)
        else:
            smooth = (original / wave - low) / (high - low)
            out.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(out, np.float32)


def make(name, arch, pre, divisors=None):
    rng = np.random.default_rng(1)
    letters = [b for b in range(256)]
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare, tokens = 0, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    for b in letters:
        tokens.append(chr(b) if b in visible else chr(256 + spare))
        spare += b not in visible
    merges = ["Ġ a", "1 2", "Ġa n"]
    tokens += [m.replace(" ", "") for m in merges]
    V = len(tokens)

    w = GGUFWriter(f"{name}.gguf", arch)
    w.add_context_length(128), w.add_embedding_length(D), w.add_feed_forward_length(F), w.add_block_count(L)
    w.add_head_count(H), w.add_head_count_kv(KV)
    if arch == "llama":
        w.add_rope_dimension_count(HD)
    else:
        w.add_bos_token_id(0), w.add_eot_token_id(0)
    w.add_layer_norm_rms_eps(EPS), w.add_rope_freq_base(THETA)
    w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre(pre), w.add_token_list(tokens)
    w.add_token_types([3] * 3 + [1] * (V - 3)), w.add_token_merges(merges), w.add_eos_token_id(2)
    w.add_chat_template(
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
    W = {}


    def tensor(name, kind, *shape):
        x = (rng.standard_normal(shape) * 0.3 + (1 if len(shape) == 1 else 0)).astype(np.float32)
        data = x if kind == Q.F32 else quantize(x, kind)
        w.add_tensor(name, data, raw_dtype=kind)
        W[name] = x.astype(np.float64) if kind == Q.F32 else dequantize(data, kind).astype(np.float64)


    tensor("token_embd.weight", Q.Q8_0, V, D)
    for l in range(L):
        tensor(f"blk.{l}.attn_norm.weight", Q.F32, D)
        tensor(f"blk.{l}.attn_q.weight", Q.Q4_1, H * HD, D)
        tensor(f"blk.{l}.attn_k.weight", Q.Q4_1, KV * HD, D)
        tensor(f"blk.{l}.attn_v.weight", Q.Q4_1, KV * HD, D)
        if arch == "qwen2":
            tensor(f"blk.{l}.attn_q.bias", Q.F32, H * HD), tensor(f"blk.{l}.attn_k.bias", Q.F32, KV * HD), tensor(f"blk.{l}.attn_v.bias", Q.F32, KV * HD)
        tensor(f"blk.{l}.attn_output.weight", Q.Q4_1, D, H * HD)
        tensor(f"blk.{l}.ffn_norm.weight", Q.F32, D)
        tensor(f"blk.{l}.ffn_gate.weight", Q.Q4_1, F, D)
        tensor(f"blk.{l}.ffn_up.weight", Q.Q4_1, F, D)
        tensor(f"blk.{l}.ffn_down.weight", Q.Q8_0, D, F)
    tensor("output_norm.weight", Q.F32, D)
    if arch == "qwen2":
        tensor("output.weight", Q.Q8_0, V, D)
    if divisors is not None:
        w.add_tensor("rope_freqs.weight", divisors)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()

    ids = rng.integers(0, V, 12)
    T = len(ids)
    angle = np.arange(T)[:, None, None] * THETA ** (-np.arange(0, HD, 2) / HD) / (1 if divisors is None else divisors)


    def rms(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * W[name]


    def rope(x):
        y = np.empty_like(x)
        one, two = (slice(0, None, 2), slice(1, None, 2)) if arch == "llama" else (slice(0, HD // 2), slice(HD // 2, None))
        a, b = x[..., one], x[..., two]
        y[..., one], y[..., two] = a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)
        return y


    x = W["token_embd.weight"][ids]
    for l in range(L):
        p = lambda n: W[f"blk.{l}.{n}.weight"].T
        h = rms(x, f"blk.{l}.attn_norm.weight")
        project = lambda n: h @ p(n) + W.get(f"blk.{l}.{n}.bias", 0)
        q, k = rope(project("attn_q").reshape(T, H, HD)), rope(project("attn_k").reshape(T, KV, HD))
        k, v = np.repeat(k, H // KV, 1), np.repeat(project("attn_v").reshape(T, KV, HD), H // KV, 1)
        s = np.einsum("thd,shd->hts", q, k) / np.sqrt(HD)
        s = np.exp(np.where(np.tril(np.ones((T, T), bool)), s, -np.inf))
        x = x + np.einsum("hts,shd->thd", s / s.sum(-1, keepdims=True), v).reshape(T, -1) @ p("attn_output")
        h = rms(x, f"blk.{l}.ffn_norm.weight")
        g = h @ p("ffn_gate")
        x = x + (g / (1 + np.exp(-g)) * (h @ p("ffn_up"))) @ p("ffn_down")
    logits = rms(x, "output_norm.weight") @ W.get("output.weight", W["token_embd.weight"]).T
    json.dump({"tokens": ids.tolist(), "logits": np.round(logits[-1], 6).tolist()}, open(f"{name}.json", "w"))


make("tiny", "llama", "smollm")
make("tiny-qwen2", "qwen2", "qwen2")
make("tiny-llama3", "llama", "llama-bpe", llama3_divisors(32.0))

"""Writes tiny.gguf, a random llama of two layers quantised as llama.cpp does, and tiny.json, its logits in float64 worked
out from the GGUF conventions themselves (interleaved rotary pairs). Needs gguf 0.19.0 and numpy. The output is committed."""
import json

import numpy as np
from gguf import GGMLQuantizationType as Q, GGUFWriter, dequantize, quantize

D, F, L, H, KV, HD, EPS, THETA = 64, 96, 2, 4, 2, 16, 1e-5, 100000.0
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

w = GGUFWriter("tiny.gguf", "llama")
w.add_context_length(128), w.add_embedding_length(D), w.add_feed_forward_length(F), w.add_block_count(L)
w.add_head_count(H), w.add_head_count_kv(KV), w.add_rope_dimension_count(HD)
w.add_layer_norm_rms_eps(EPS), w.add_rope_freq_base(THETA)
w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre("smollm"), w.add_token_list(tokens)
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
    tensor(f"blk.{l}.attn_output.weight", Q.Q4_1, D, H * HD)
    tensor(f"blk.{l}.ffn_norm.weight", Q.F32, D)
    tensor(f"blk.{l}.ffn_gate.weight", Q.Q4_1, F, D)
    tensor(f"blk.{l}.ffn_up.weight", Q.Q4_1, F, D)
    tensor(f"blk.{l}.ffn_down.weight", Q.Q8_0, D, F)
tensor("output_norm.weight", Q.F32, D)
w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()

ids = rng.integers(0, V, 12)
T = len(ids)
angle = np.arange(T)[:, None, None] * THETA ** (-np.arange(0, HD, 2) / HD)


def rms(x, name):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * W[name]


def rope(x):
    y = np.empty_like(x)
    a, b = x[..., 0::2], x[..., 1::2]
    y[..., 0::2], y[..., 1::2] = a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)
    return y


x = W["token_embd.weight"][ids]
for l in range(L):
    p = lambda n: W[f"blk.{l}.{n}.weight"].T
    h = rms(x, f"blk.{l}.attn_norm.weight")
    q, k = rope((h @ p("attn_q")).reshape(T, H, HD)), rope((h @ p("attn_k")).reshape(T, KV, HD))
    k, v = np.repeat(k, H // KV, 1), np.repeat((h @ p("attn_v")).reshape(T, KV, HD), H // KV, 1)
    s = np.einsum("thd,shd->hts", q, k) / np.sqrt(HD)
    s = np.exp(np.where(np.tril(np.ones((T, T), bool)), s, -np.inf))
    x = x + np.einsum("hts,shd->thd", s / s.sum(-1, keepdims=True), v).reshape(T, -1) @ p("attn_output")
    h = rms(x, f"blk.{l}.ffn_norm.weight")
    g = h @ p("ffn_gate")
    x = x + (g / (1 + np.exp(-g)) * (h @ p("ffn_up"))) @ p("ffn_down")
logits = rms(x, "output_norm.weight") @ W["token_embd.weight"].T
json.dump({"tokens": ids.tolist(), "logits": np.round(logits[-1], 6).tolist()}, open("tiny.json", "w"))

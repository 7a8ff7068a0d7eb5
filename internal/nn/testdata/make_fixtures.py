"""Makes the fixtures of internal/nn's tests: what an independent implementation (PyTorch, float64) computes.

    pip install torch transformers && python make_fixtures.py

The networks are Hugging Face transformers' own, so the fixtures also pin the conventions (rotary positions, grouped
queries, tied embeddings). The losses are written out below, straight from the formulas.
"""

import json
import pathlib

import torch
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
DTYPE = torch.float64

LLAMA_TIED = dict(
    model_type="llama", architectures=["LlamaForCausalLM"], vocab_size=11, hidden_size=8, intermediate_size=12,
    num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, head_dim=4, hidden_act="silu", rms_norm_eps=1e-5,
    rope_theta=10000.0, rope_scaling=None, tie_word_embeddings=True, max_position_embeddings=32,
)
QWEN2_UNTIED = dict(
    model_type="qwen2", architectures=["Qwen2ForCausalLM"], vocab_size=13, hidden_size=8, intermediate_size=12,
    num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=2, hidden_act="silu", rms_norm_eps=1e-6,
    rope_theta=1000.0, rope_scaling=None, tie_word_embeddings=False, max_position_embeddings=32, use_sliding_window=False,
)
LLAMA3_ROPE = dict(
    LLAMA_TIED, num_key_value_heads=1, attention_bias=True,
    rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                      original_max_position_embeddings=64),
    max_position_embeddings=256,
)
LINEAR_ROPE = dict(LLAMA_TIED, rope_scaling=dict(rope_type="linear", factor=2.5))
YARN_ROPE = dict(
    QWEN2_UNTIED, head_dim=8, num_attention_heads=2, num_key_value_heads=1,
    rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=8.0, beta_slow=1.0),
    max_position_embeddings=256,
)

UPDATE = dict(clip=0.2, value_clip=0.2, value_weight=0.7, kl_coefficient=0.05, entropy=0.02)


def network(config, seed):
    """A random network in float64 whose weights are exactly representable in the fixture's decimals."""
    torch.manual_seed(seed)
    raw = {k: v for k, v in config.items() if k not in ("model_type", "architectures")}
    hf = AutoConfig.for_model(config["model_type"], **raw)
    model = AutoModelForCausalLM.from_config(hf, attn_implementation="eager", torch_dtype=DTYPE).to(DTYPE)
    with torch.no_grad():
        for name, p in model.named_parameters():
            center = 1.0 if "norm" in name else 0.0
            p.copy_(torch.round((center + 0.4 * torch.randn(p.shape, dtype=DTYPE)) * 1e4) / 1e4)
    return model


def hidden_states(model, tokens):
    return model.model(input_ids=tokens, use_cache=False).last_hidden_state


def predictions(model, tokens):
    """Log-probability of token t+1 and entropy, [B, T] each."""
    logits = model.lm_head(hidden_states(model, tokens[:, :-1]))
    log_probs = torch.log_softmax(logits, -1)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    return log_probs.gather(-1, tokens[:, 1:, None]).squeeze(-1), entropy


def rounded(x):
    return [float(f"{v:.9g}") for v in x.detach().flatten().tolist()]


def gradients(model, names):
    by_name = dict(model.named_parameters())
    zero = {n: torch.zeros_like(p) for n, p in by_name.items()}
    return {n: rounded(by_name[n].grad if by_name[n].grad is not None else zero[n]) for n in names}


def make_network(name, config, with_losses):
    model = network(config, seed=len(name))
    names = sorted(n for n, _ in model.named_parameters())
    tokens = torch.randint(0, config["vocab_size"], (3, 8))
    log_probs, entropy = predictions(model, tokens)
    out = dict(
        config=config, tokens=tokens.flatten().tolist(), batch=3, length=7,
        weights={n: rounded(p) for n, p in model.named_parameters()},
        log_probs=rounded(log_probs), entropy=rounded(entropy),
    )
    if with_losses:
        out["imitation"] = imitation(model, names, tokens)
        out["ppo"] = {kl: ppo(model, names, tokens, kl) for kl in ("k2", "k3")}
        out["value"] = value(model, config, names, tokens)
    (HERE / f"{name}.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


MASK = torch.tensor([[0, 0, 1, 1, 1, 0, 1], [0, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0]], dtype=DTYPE)


def imitation(model, names, tokens):
    model.zero_grad()
    log_probs, _ = predictions(model, tokens)
    loss = -(MASK * log_probs).sum() / MASK.sum()
    loss.backward()
    return dict(mask=rounded(MASK), loss=loss.item(), gradients=gradients(model, names))


def ppo(model, names, tokens, estimator):
    """The clipped policy loss + coefficient · KL − weight · entropy; mean over masked-in tokens."""
    model.zero_grad()
    torch.manual_seed(7)
    log_probs, entropy = predictions(model, tokens)
    # Far enough apart that ratios leave [1 − ε, 1 + ε] on both sides, for both signs of the advantage.
    old = torch.round((log_probs + 0.4 * torch.randn_like(log_probs)).detach() * 1e4) / 1e4
    ref = torch.round((log_probs + 0.5 * torch.randn_like(log_probs)).detach() * 1e4) / 1e4
    advantages = torch.round(torch.randn_like(log_probs) * 1e4) / 1e4
    importance = torch.round((0.5 + torch.rand_like(log_probs)) * 1e4) / 1e4
    scale = MASK * importance / MASK.sum()

    ratio = (log_probs - old).exp()
    clipped = ratio.clamp(1 - UPDATE["clip"], 1 + UPDATE["clip"])
    surrogate = -torch.minimum(ratio * advantages, clipped * advantages)
    delta = ref - log_probs
    kl = {"k2": delta**2 / 2, "k3": delta.exp() - 1 - delta}[estimator]
    loss = (scale * (surrogate + UPDATE["kl_coefficient"] * kl - UPDATE["entropy"] * entropy)).sum()
    loss.backward()
    decided = (clipped * advantages < ratio * advantages).to(DTYPE)
    change = log_probs - old
    return dict(
        update=UPDATE, mask=rounded(MASK), importance=rounded(importance), old=rounded(old), ref=rounded(ref),
        advantages=rounded(advantages), loss=loss.item(), surrogate=(scale * surrogate).sum().item(),
        kl=(MASK * kl).sum().item(), entropy=(MASK * entropy).sum().item(), clipped=(MASK * decided).sum().item(),
        approx_kl=(MASK * (change.exp() - 1 - change)).sum().item(), ratio_max=(MASK * ratio).max().item(),
        gradients=gradients(model, names),
    )


def value(model, config, names, tokens):
    """0.5 · max((V − R)², (V_old + clip(V − V_old) − R)²); mean over masked-in tokens."""
    model.zero_grad()
    torch.manual_seed(9)
    head = torch.round(torch.randn(1, config["hidden_size"], dtype=DTYPE) * 1e4) / 1e4
    head.requires_grad_()
    values = (hidden_states(model, tokens[:, :-1]) @ head.T).squeeze(-1)
    old = torch.round((values + 0.3 * torch.randn_like(values)).detach() * 1e4) / 1e4
    returns = torch.round(torch.randn_like(values) * 1e4) / 1e4
    near = old + (values - old).clamp(-UPDATE["value_clip"], UPDATE["value_clip"])
    loss = (MASK * 0.5 * torch.maximum((values - returns) ** 2, (near - returns) ** 2)).sum() / MASK.sum()
    loss.backward()
    grads = gradients(model, [n for n in names if n != "lm_head.weight"])
    grads["value_head.weight"] = rounded(head.grad)
    return dict(
        head=rounded(head), values=rounded(values), old=rounded(old), returns=rounded(returns), mask=rounded(MASK),
        loss=loss.item(), gradients=grads,
    )


def make_adam():
    """Five steps of torch.optim.Adam with clipping of the global norm, on gradients of changing size."""
    torch.manual_seed(3)
    start = [torch.randn(2, 3, dtype=DTYPE).round(decimals=4), torch.randn(4, dtype=DTYPE).round(decimals=4)]
    weights = [torch.nn.Parameter(w.clone()) for w in start]
    optimizer = torch.optim.Adam(weights, lr=0.01, betas=(0.9, 0.95), eps=1e-8)
    steps = []
    for i in range(5):
        grads = [(torch.randn_like(w) * 10 ** (i - 3)).detach().round(decimals=6) for w in weights]
        for w, g in zip(weights, grads):
            w.grad = g.clone()
        norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (i + 1)
        optimizer.step()
        steps.append(dict(gradients=[rounded(g) for g in grads], norm=norm.item(), rate=0.01 * (i + 1),
                          weights=[rounded(w) for w in weights]))
    out = dict(start=[rounded(w) for w in start], shapes=[[2, 3], [4]], steps=steps)
    (HERE / "adam.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    make_network("llama_tied", LLAMA_TIED, True)
    make_network("qwen2_untied", QWEN2_UNTIED, True)
    make_network("llama3_rope", LLAMA3_ROPE, False)
    make_network("linear_rope", LINEAR_ROPE, False)
    make_network("yarn_rope", YARN_ROPE, False)
    make_adam()

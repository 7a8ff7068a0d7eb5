"""Makes ppo.json: rewards, advantages, losses and gradients of hand-made episodes, as an independent implementation has them.

    pip install torch transformers && python make_ppo.py

PyTorch in float64, straight from ../../../docs/algorithms.md and the papers it names; the network is Hugging Face
transformers' own. Episodes have one to five attempts of different lengths, in groups of two. Scores come from one policy and critic
("before"), the loss and its gradients from others that have moved away ("after"), so that ratios and values leave their
clip ranges on both sides.
"""

import json
import math
import pathlib

import torch
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
F64 = torch.float64
CONFIG = dict(
    model_type="llama", architectures=["LlamaForCausalLM"], vocab_size=12, hidden_size=8, intermediate_size=12,
    num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=4, hidden_act="silu", rms_norm_eps=1e-5,
    rope_theta=10000.0, rope_scaling=None, tie_word_embeddings=True, max_position_embeddings=64,
)
CORRECT, WRONG, NO_ANSWER, TRUNCATED, BOUNDED = "correct", "wrong", "no_answer", "truncated", "bounded"

# problem, then attempts: (tokens forced before it, tokens sampled, outcome, answer). What is forced before the first attempt
# is the prompt.
EPISODES = [
    ("a", [(4, 3, WRONG, "0.5"), (3, 2, WRONG, "1/2"), (3, 4, CORRECT, "2")]),
    ("a", [(4, 2, CORRECT, "2")]),
    ("b", [(5, 2, WRONG, "3"), (2, 3, NO_ANSWER, ""), (3, 1, BOUNDED, "9^9"), (2, 2, WRONG, "4"), (2, 3, WRONG, "3")]),
    ("b", [(5, 4, NO_ANSWER, ""), (2, 2, TRUNCATED, "")]),
    ("c", [(3, 5, NO_ANSWER, ""), (3, 1, TRUNCATED, "")]),
    ("c", [(3, 1, NO_ANSWER, ""), (3, 2, NO_ANSWER, "")]),
]
# Where the program keeps each setting.
REWARD = ("correct", "wrong", "no_answer", "discount", "repeat_penalty")
ADVANTAGE = ("estimator", "gamma", "gae_lambda", "whiten", "group_std", "drop_equal_groups", "credit", "attempt_gamma")


def sections(overrides):
    out = dict(reward={}, advantage={}, update={})
    for k, v in overrides.items():
        section = "reward" if k in REWARD else "advantage" if k in ADVANTAGE else "update"
        out[section][k.removeprefix("gae_")] = v
    return out


EQUAL = {("0.5", "1/2"), ("1/2", "0.5")}  # of different words; equal words are equal

DEFAULT = dict(
    correct=1.0, wrong=-0.5, no_answer=-1.0, discount=1.0, repeat_penalty=0.0,
    estimator="gae", gamma=1.0, gae_lambda=0.99, whiten=True, group_std=True, drop_equal_groups=False,
    credit="episode", attempt_gamma=1.0,
    clip=0.2, clip_high=0.0, value_clip=0.2, value_weight=1.0, kl="loss", kl_estimator="k3", kl_coefficient=0.01,
    entropy=0.0, aggregation="token_mean", aggregation_length=0, old_log_probs="recomputed", importance_clip=2.0,
)
FREE = dict(whiten=False, value_weight=0.0)
VARIANTS = {
    "paper": {},
    "clip higher, k2, entropy, mean of episodes": dict(clip=0.1, clip_high=0.3, kl_estimator="k2", kl_coefficient=0.2, entropy=0.02,
                                            aggregation="episode_mean", value_weight=0.5),
    "k1 in the reward, discounts": dict(kl="reward", kl_estimator="k1", kl_coefficient=0.1, gamma=0.97, gae_lambda=0.9, discount=0.8,
                             repeat_penalty=0.25, whiten=False),
    "credit by attempt": dict(credit="attempt", attempt_gamma=0.7, repeat_penalty=0.25),
    "importance": dict(old_log_probs="sampling", importance_clip=1.2, kl="none"),
    "grpo": dict(FREE, estimator="grpo"),
    "dr. grpo, constant length, equal groups dropped": dict(FREE, estimator="grpo", group_std=False, aggregation="constant_length",
                                               aggregation_length=20, drop_equal_groups=True),
    "rloo, k3 in the reward": dict(FREE, estimator="rloo", kl="reward", kl_coefficient=0.1),
    "rloo, credit by attempt": dict(FREE, estimator="rloo", credit="attempt", attempt_gamma=0.5),
    "reinforce++": dict(estimator="reinforce++", value_weight=0.0, kl="reward", kl_estimator="k1", kl_coefficient=0.1),
}


def network(seed, scale=0.4, near=None, distance=0.0):
    """A random network whose weights have four decimals; or one at a distance from another."""
    torch.manual_seed(seed)
    raw = {k: v for k, v in CONFIG.items() if k not in ("model_type", "architectures")}
    hf = AutoConfig.for_model(CONFIG["model_type"], **raw)
    model = AutoModelForCausalLM.from_config(hf, attn_implementation="eager", dtype=F64).to(F64)
    others = dict(near.named_parameters()) if near is not None else {}
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, dtype=F64)
            if near is not None:
                p.copy_(torch.round((others[name] + distance * noise) * 1e4) / 1e4)
            else:
                p.copy_(torch.round(((1.0 if "norm" in name else 0.0) + scale * noise) * 1e4) / 1e4)
    return model


def head(seed, near=None, distance=0.0):
    torch.manual_seed(seed)
    noise = torch.randn(1, CONFIG["hidden_size"], dtype=F64)
    h = 0.3 * noise if near is None else near.detach() + distance * noise
    return torch.round(h * 1e4).div(1e4).requires_grad_()


def hidden(model, tokens):
    return model.model(input_ids=torch.tensor([tokens[:-1]]), use_cache=False).last_hidden_state[0]


def predict(model, tokens):
    """Log-probability of each token but the first, and the entropy before it."""
    logits = model.lm_head(hidden(model, tokens))
    log_probs = torch.log_softmax(logits, -1)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    return log_probs.gather(-1, torch.tensor(tokens[1:])[:, None]).squeeze(-1), entropy


def value(model, h, tokens):
    return (hidden(model, tokens) @ h.T).squeeze(-1)


def make_episodes():
    torch.manual_seed(1)
    episodes = []
    for problem, attempts in EPISODES:
        e = dict(problem=problem, tokens=[], mask=[], attempts=[])
        for forced, sampled, outcome, answer in attempts:
            start = len(e["tokens"]) + forced
            e["tokens"] += torch.randint(0, CONFIG["vocab_size"], (forced + sampled,)).tolist()
            e["mask"] += [False] * forced + [True] * sampled
            e["attempts"].append(dict(start=start, end=start + sampled, outcome=outcome, answer=answer))
        episodes.append(e)
    return episodes


def earned(e, s):
    """Rewards of the episode as a whole and of its attempts."""
    own, repeats, whole, answers = [], 0, s["no_answer"], []
    for a, attempt in enumerate(e["attempts"]):
        r = {CORRECT: s["correct"] * s["discount"] ** a, WRONG: s["wrong"], BOUNDED: s["wrong"]}.get(attempt["outcome"], s["no_answer"])
        if attempt["outcome"] in (CORRECT, WRONG, BOUNDED):
            whole = r
        x = attempt["answer"]
        if x and any(x == y or (x, y) in EQUAL for y in answers):
            r -= s["repeat_penalty"]
            repeats += 1
        answers.append(x)
        own.append(r)
    return whole - repeats * s["repeat_penalty"], own


def divergence(estimator, log_p, log_ref):
    d = log_ref - log_p
    return {"k1": -d, "k2": d**2 / 2, "k3": d.exp() - 1 - d}[estimator]


def advantages_of(episodes, s):
    """Unwhitened advantages over sampled tokens; episodes carry old, ref, values over sampled tokens and their parts."""
    for e in episodes:
        n = len(e["old"])
        e["parts"] = [n]
        rewards = [e["reward"]]
        if s["credit"] == "attempt":
            sizes = [a["end"] - a["start"] for a in e["attempts"]]
            e["parts"], rewards = [sum(sizes[: i + 1]) for i in range(len(sizes))], e["own"]
        r = torch.zeros(n, dtype=F64)
        if s["kl"] == "reward":
            r = -s["kl_coefficient"] * divergence(s["kl_estimator"], e["old"], e["ref"])
        for end, x in zip(e["parts"], rewards):
            r[end - 1] += x
        e["r"] = r
        follow = torch.full((n,), s["gamma"], dtype=F64)
        for end in e["parts"]:
            follow[end - 1] *= s["attempt_gamma"]
        e["follow"] = follow
    if s["estimator"] in ("gae", "reinforce++"):
        lam = s["gae_lambda"] if s["estimator"] == "gae" else 1.0
        for e in episodes:
            n = len(e["r"])
            v = list(e["values"]) + [0.0] if s["estimator"] == "gae" else [0.0] * (n + 1)
            # As a sum over what is to come, not as a recursion.
            delta = [e["r"][j] + e["follow"][j] * v[j + 1] * (j < n - 1) - v[j] for j in range(n)]
            e["advantage"] = torch.stack([
                sum(delta[k] * math.prod(float(e["follow"][i]) * lam for i in range(j, k)) for k in range(j, n)) for j in range(n)
            ])
        return
    for e in episodes:
        begin, parts = 0, []
        for end in e["parts"]:
            parts.append(e["r"][begin:end].sum().item())
            begin = end
        gamma = s["attempt_gamma"]
        e["returns"] = [sum(x * gamma ** (q - p) for q, x in enumerate(parts) if q >= p) for p in range(len(parts))]
    for e in episodes:
        pieces, begin = [], 0
        for p, end in enumerate(e["parts"]):
            peers = torch.tensor([o["returns"][p] for o in episodes if o["problem"] == e["problem"] and p < len(o["returns"])], dtype=F64)
            mine, n = e["returns"][p], len(peers)
            if n < 2:
                a = 0.0
            elif s["estimator"] == "rloo":
                a = mine - (peers.sum().item() - mine) / (n - 1)
            else:
                a = (mine - peers.mean().item()) / ((peers.std().item() + 1e-6) if s["group_std"] else 1.0)
            pieces += [a] * (end - begin)
            begin = end
        e["advantage"] = torch.tensor(pieces, dtype=F64)


def rounded(x):
    return [float(f"{v:.9g}") for v in torch.as_tensor(x).detach().flatten().tolist()]


def run(name, overrides, nets, base):
    s = dict(DEFAULT, **overrides)
    critic = s["estimator"] == "gae"
    episodes = [dict(e) for e in base]
    for e in episodes:
        e["reward"], e["own"] = earned(e, s)
    rewards, own = [e["reward"] for e in episodes], [e["own"] for e in episodes]
    if s["drop_equal_groups"]:
        key = (lambda e: tuple(e["own"])) if s["credit"] == "attempt" else (lambda e: e["reward"])
        episodes = [e for e in episodes if len({key(o) for o in episodes if o["problem"] == e["problem"]}) > 1]
    for e in episodes:
        at = torch.tensor([t - 1 for t, m in enumerate(e["mask"]) if m])
        with torch.no_grad():
            e["old"], e["ref"] = predict(nets["before"], e["tokens"])[0][at], predict(nets["reference"], e["tokens"])[0][at]
            e["values"] = value(nets["critic_before"], nets["head_before"], e["tokens"])[at]
        e["at"] = at
    advantages_of(episodes, s)
    everything = torch.cat([e["advantage"] for e in episodes])
    mean, variance = everything.mean(), everything.var(correction=0)
    for e in episodes:
        e["return"] = e["advantage"] + e["values"]
        e["used"] = (e["advantage"] - mean) / torch.sqrt(torch.clamp(variance, min=1e-8)) if s["whiten"] else e["advantage"]

    for m in (nets["after"], nets["critic_after"]):
        m.zero_grad()
    nets["head_after"].grad = None
    tokens = sum(len(e["old"]) for e in episodes)
    sums = dict(policy_loss=0.0, value_loss=0.0, kl=0.0, entropy=0.0, clipped=0.0, approx_kl=0.0)
    ratio_max, total = 0.0, 0.0
    for e in episodes:
        n = len(e["old"])
        scale = {"token_mean": 1 / tokens, "episode_mean": 1 / (n * len(episodes)),
                 "constant_length": 1 / (max(s["aggregation_length"], 1) * len(episodes))}[s["aggregation"]]
        weight = torch.ones(n, dtype=F64)
        if s["old_log_probs"] == "sampling":
            weight = torch.clamp((e["old"] - torch.tensor(e["sampler"], dtype=F64)).exp(), max=s["importance_clip"])
            e["weight"] = weight
        log_probs, entropy = predict(nets["after"], e["tokens"])
        log_probs, entropy = log_probs[e["at"]], entropy[e["at"]]
        ratio = (log_probs - e["old"]).exp()
        clipped = ratio.clamp(1 - s["clip"], 1 + (s["clip_high"] or s["clip"]))
        surrogate = -torch.minimum(ratio * e["used"], clipped * e["used"])
        kl = divergence(s["kl_estimator"], log_probs, e["ref"])
        per_token = surrogate - s["entropy"] * entropy + (s["kl_coefficient"] * kl if s["kl"] == "loss" else 0)
        total = total + (scale * weight * per_token).sum()
        sums["policy_loss"] += (scale * weight * surrogate).sum().item()
        if critic:
            v = value(nets["critic_after"], nets["head_after"], e["tokens"])[e["at"]]
            near = e["values"] + (v - e["values"]).clamp(-s["value_clip"], s["value_clip"])
            loss = (scale * 0.5 * torch.maximum((v - e["return"]) ** 2, (near - e["return"]) ** 2)).sum()
            total = total + s["value_weight"] * loss
            sums["value_loss"] += loss.item()
        sums["kl"] += kl.sum().item() / tokens
        sums["entropy"] += entropy.sum().item() / tokens
        sums["clipped"] += (clipped * e["used"] < ratio * e["used"]).sum().item() / tokens
        change = log_probs - e["old"]
        sums["approx_kl"] += (change.exp() - 1 - change).sum().item() / tokens
        ratio_max = max(ratio_max, ratio.max().item())
    total.backward()

    out = dict(
        settings=sections(overrides), rewards=rewards, attempt_rewards=own, kept=[base.index(next(b for b in base if b["tokens"] == e["tokens"])) for e in episodes],
        advantages=[rounded(e["used"]) for e in episodes],
        advantage_mean=mean.item(), advantage_std=math.sqrt(variance.item()),
        kl_before=sum(divergence("k3", e["old"], e["ref"]).sum().item() for e in episodes) / tokens,
        ratio_max=ratio_max, **sums,
        policy_gradients={n: rounded(p.grad) for n, p in nets["after"].named_parameters()},
    )
    if "weight" in episodes[0]:
        out["weights"] = [rounded(e["weight"]) for e in episodes]
    if critic:
        returns, values = torch.cat([e["return"] for e in episodes]), torch.cat([e["values"] for e in episodes])
        out["returns"] = [rounded(e["return"]) for e in episodes]
        out["explained_variance"] = 1 - ((returns - values).var(correction=0) / returns.var(correction=0)).item()
        out["critic_gradients"] = {n: rounded(p.grad) for n, p in nets["critic_after"].named_parameters() if n != "lm_head.weight"}
        out["critic_gradients"]["value_head.weight"] = rounded(nets["head_after"].grad)
    print(f"{name}: clipped {sums['clipped']:.2f}, largest ratio {ratio_max:.2f}")
    return out


def weights(model, h=None):
    w = {n: rounded(p) for n, p in model.named_parameters() if h is None or n != "lm_head.weight"}
    if h is not None:
        w["value_head.weight"] = rounded(h)
    return w


def main():
    nets = dict(before=network(1), critic_before=network(3))
    nets["after"] = network(4, near=nets["before"], distance=0.06)
    nets["reference"] = network(5, near=nets["before"], distance=0.08)
    nets["critic_after"] = network(6, near=nets["critic_before"], distance=0.1)
    nets["head_before"] = head(7)
    nets["head_after"] = head(8, near=nets["head_before"], distance=0.1)
    base = make_episodes()
    torch.manual_seed(9)
    for e in base:
        with torch.no_grad():
            at = torch.tensor([t - 1 for t, m in enumerate(e["mask"]) if m])
            old = predict(nets["before"], e["tokens"])[0][at]
            e["sampler"] = (torch.round((old + 0.2 * torch.randn_like(old)) * 1e4) / 1e4).tolist()
    out = dict(
        config=CONFIG,
        episodes=[{k: e[k] for k in ("problem", "tokens", "mask", "attempts", "sampler")} for e in base],
        before=weights(nets["before"]), after=weights(nets["after"]), reference=weights(nets["reference"]),
        critic_before=weights(nets["critic_before"], nets["head_before"]), critic_after=weights(nets["critic_after"], nets["head_after"]),
        variants={name: run(name, overrides, nets, base) for name, overrides in VARIANTS.items()},
    )
    (HERE / "ppo.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

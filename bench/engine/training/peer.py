"""The update of bench/engine/training in PyTorch: transformers' networks, the same weights, rows and hyper-parameters.

Prints one line of JSON: seconds of scoring and of one optimiser step (the best of the repetitions), and what the first step
computed, so that both sides can be seen to do the same work.
"""

import argparse
import json
import math
import pathlib
import time

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def arguments():
    p = argparse.ArgumentParser()
    for name in ("model", "state", "rows", "mode", "device", "compute"):
        p.add_argument("--" + name, required=True)
    for name in ("threads", "rank", "microbatch", "repeat"):
        p.add_argument("--" + name, type=int, required=True)
    for name in ("policy-lr", "critic-lr", "clip", "value-clip", "value-weight", "kl", "clip-norm", "beta1", "beta2", "epsilon"):
        p.add_argument("--" + name, type=float, required=True)
    return p.parse_args()


class Adapted(torch.nn.Module):
    """A frozen linear map with a trained adapter."""

    def __init__(self, base, a, b, scale):
        super().__init__()
        self.base, self.scale = base, scale
        self.a, self.b = torch.nn.Parameter(a), torch.nn.Parameter(b)

    def forward(self, x):
        low = torch.nn.functional.linear(x, self.a.to(x.dtype))
        return self.base(x) + self.scale * torch.nn.functional.linear(low, self.b.to(x.dtype))


def load(a):
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32, attn_implementation="sdpa").to(a.device)
    model.config.use_cache = False
    return model


def network(a, role, state, base):
    """A network with the weights that this engine wrote, or with its adapters on the base's weights."""
    model = load(a)
    own = {n.removeprefix(role + "."): w.to(a.device) for n, w in state.items() if n.startswith(role + ".") and ".adam_" not in n}
    head = torch.nn.Parameter(own.pop("value_head.weight")) if "value_head.weight" in own else None
    if a.rank > 0:
        share(model, base)
        model.requires_grad_(False)
        for full, module in list(model.named_modules()):
            parent, _, name = full.rpartition(".")
            if name in LINEAR:
                adapter = Adapted(module, own[full + ".lora_A.weight"], own[full + ".lora_B.weight"], 2.0)
                setattr(model.get_submodule(parent), name, adapter)
    elif own:
        model.load_state_dict(own, strict=False)
    return model, head


def share(model, base):
    """Makes a network use the tensors of another one."""
    theirs = dict(base.named_parameters())
    for name, p in model.named_parameters():
        p.data = theirs[name].data


class Policy(torch.nn.Module):
    """[B, T+1] tokens → log-probability of each next token and entropy, [B, T] each."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        logits = self.model(input_ids=tokens[:, :-1], use_cache=False).logits.float()
        total = torch.logsumexp(logits, -1)
        log_probs = logits.gather(-1, tokens[:, 1:, None]).squeeze(-1) - total
        with torch.no_grad():
            entropy = total - (torch.exp(logits - total[..., None]) * logits).sum(-1)
        return log_probs, entropy


class Critic(torch.nn.Module):
    """[B, T+1] tokens → values [B, T]."""

    def __init__(self, model, head):
        super().__init__()
        self.body, self.head = model.model, head

    def forward(self, tokens):
        hidden = self.body(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        return torch.nn.functional.linear(hidden.float(), self.head).squeeze(-1)


class Update:
    def __init__(self, a):
        self.a = a
        state = load_file(pathlib.Path(a.state) / "trainer.safetensors")
        base = load(a)
        policy, _ = network(a, "policy", state, base)
        critic, head = network(a, "critic", state, base)
        self.reference = Policy(base).requires_grad_(False)
        self.policy, self.critic = Policy(policy), Critic(critic, head)
        del state
        if a.device == "cuda":
            torch.cuda.empty_cache()
        self.trained = [[p for p in m.parameters() if p.requires_grad] for m in (self.policy, self.critic)]
        self.optimizers = [
            torch.optim.Adam(t, lr=lr, betas=(a.beta1, a.beta2), eps=a.epsilon, fused=True)
            for t, lr in zip(self.trained, (a.policy_lr, a.critic_lr), strict=True)
        ]
        if policy.config.hidden_size >= 1024:  # as this engine: large networks compute their layers again for the gradient
            for model in (policy, critic):
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
                model.train()
        if a.mode == "compile":
            self.policy, self.critic, self.reference = map(torch.compile, (self.policy, self.critic, self.reference))
        rows = json.loads(pathlib.Path(a.rows).read_text())
        rows.sort(key=lambda r: -len(r["Tokens"]))
        self.batches = [self.batch(rows[i : i + a.microbatch]) for i in range(0, len(rows), a.microbatch)]
        self.tokens = sum(sum(r["Mask"]) for r in rows)
        self.all_tokens = sum(len(r["Tokens"]) for r in rows)
        self.longest = len(rows[0]["Tokens"])

    def batch(self, rows):
        length = max(len(r["Tokens"]) for r in rows)
        pad = lambda key, dtype: torch.tensor([r[key] + [0] * (length - len(r[key])) for r in rows], dtype=dtype, device=self.a.device)  # noqa: E731
        b = {key.lower(): pad(key, torch.float32)[:, 1:] for key in ("Mask", "Old", "Ref", "Advantages", "Returns", "Values")}
        b["tokens"] = pad("Tokens", torch.int64)
        return b

    def cast(self):
        return torch.autocast(self.a.device, torch.bfloat16, enabled=self.a.compute == "bfloat16")

    def score(self):
        out = []
        with torch.no_grad(), self.cast():
            for b in self.batches:
                old, _ = self.policy(b["tokens"])
                ref, _ = self.reference(b["tokens"])
                out.append(torch.stack([old, ref, self.critic(b["tokens"])]).cpu())
        return out

    def step(self):
        a, facts = self.a, torch.zeros(6, device=self.a.device)
        for b in self.batches:
            with self.cast():
                log_probs, entropy = self.policy(b["tokens"])
                values = self.critic(b["tokens"])
            mask, scale = b["mask"], b["mask"] / self.tokens
            log_ratio = torch.where(mask > 0, log_probs - b["old"], 0)
            ratio, delta = log_ratio.exp(), torch.where(mask > 0, b["ref"] - log_probs, 0)
            surrogate = -torch.minimum(ratio * b["advantages"], ratio.clamp(1 - a.clip, 1 + a.clip) * b["advantages"])
            divergence = delta.exp() - 1 - delta
            loss = (scale * (surrogate + a.kl * divergence)).sum()
            near = b["values"] + (values - b["values"]).clamp(-a.value_clip, a.value_clip)
            worst = torch.maximum((values - b["returns"]) ** 2, (near - b["returns"]) ** 2)
            value = (scale * 0.5 * worst).sum()
            (loss + a.value_weight * value).backward()
            with torch.no_grad():
                facts += torch.stack([(scale * surrogate).sum(), value, (mask * divergence).sum(), (mask * entropy).sum(),
                                      (mask * (ratio - 1 - log_ratio)).sum(), (mask * ratio).max()])
        norms = [torch.nn.utils.clip_grad_norm_(t, a.clip_norm) for t in self.trained]
        for o in self.optimizers:
            o.step()
            o.zero_grad(set_to_none=True)
        return facts.tolist()[:2] + [n.item() for n in norms]


def best(repeat, f):
    times = []
    for i in range(repeat + 1):
        start = time.perf_counter()
        result = f()
        times.append(time.perf_counter() - start)
        if i == 0:
            first = result
    return min(times[1:]), times[0], first


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    u = Update(a)
    score_seconds, first_score, scores = best(a.repeat, u.score)
    error = max(
        (torch.where(b["mask"].cpu() > 0, s[0] - b["old"].cpu(), 0).abs().max().item() for s, b in zip(scores, u.batches, strict=True)),
        default=math.nan,
    )
    step_seconds, first_step, facts = best(a.repeat, u.step)
    print(json.dumps(dict(
        score_seconds=score_seconds, step_seconds=step_seconds, first_seconds=first_score + first_step, tokens=u.all_tokens,
        length=u.longest, policy_loss=facts[0], value_loss=facts[1], policy_norm=facts[2], critic_norm=facts[3], log_prob_error=error,
        memory_bytes=torch.cuda.max_memory_reserved() if a.device == "cuda" else 0,
    )))


main()

"""The other side of bench/engine/sampling: transformers on the same weights and tokens.

One JSON request a line on standard input, one JSON reply a line on standard output. With --first-token it loads the
model, samples one token, prints the times and ends.
"""

import argparse
import json
import sys
import time

started = time.perf_counter()
import torch  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

imported = time.perf_counter()


def load(folder, device):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.to(device).eval()


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def generate(model, device, prompts, new, greedy):
    """Returns the new tokens of each prompt (all of one length), exactly `new` of them, and the seconds it took."""
    ids = torch.tensor(prompts, device=device)
    how = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    synchronize(device)
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=new,
            max_new_tokens=new,
            eos_token_id=None,
            pad_token_id=0,
            use_cache=True,
            **how,
        )
    tokens = out[:, ids.shape[1] :].tolist()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "tokens": tokens}


def score(model, device, rows):
    """Returns the log-probability of each token of each row (all of one length) from the second one on."""
    ids = torch.tensor(rows, device=device)
    result = []
    with torch.inference_mode():
        for part in ids.split(4):
            logits = model(part).logits[:, :-1].float()
            result += logits.log_softmax(-1).gather(-1, part[:, 1:, None])[..., 0].tolist()
    return {"logprobs": result}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model")
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--first-token", action="store_true")
    a = arguments.parse_args()
    torch.set_num_threads(a.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(1)
    before = time.perf_counter()
    model = load(a.model, a.device)
    if a.first_token:
        loaded = time.perf_counter()
        generate(model, a.device, [list(range(1, 65))], 1, False)
        done = time.perf_counter()
        print(json.dumps({"import": imported - started, "load": loaded - before, "sample": done - loaded}))
        return
    for line in sys.stdin:
        request = json.loads(line)
        what = request.pop("what")
        reply = {"generate": generate, "score": score}[what](model, a.device, **request)
        print(json.dumps(reply), flush=True)


main()

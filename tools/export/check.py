"""Opens an exported folder with transformers and compares it with multiattempt: log-probabilities of random tokens and a
greedy answer, and that the tokenizer and the chat template load.

    pip install -r tools/fixtures/requirements.txt
    python tools/export/check.py DIR [--binary bin/multiattempt-lite] [--tolerance 2e-4]

Exit code 1 when they differ.
"""

import argparse
import json
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

GREEDY = 32


def multiattempt(binary, command, model, lines, *flags):
    """Runs a command that reads and writes JSON lines."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([binary, command, "--model", model, *flags], input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir")
    p.add_argument("--binary", default="bin/multiattempt-lite")
    p.add_argument("--tolerance", type=float, default=2e-4, help="of a log-probability, in float32")
    p.add_argument("--rows", type=int, default=4)
    p.add_argument("--length", type=int, default=32)
    a = p.parse_args()

    model = AutoModelForCausalLM.from_pretrained(a.dir, dtype=torch.float32, attn_implementation="eager")
    torch.manual_seed(0)
    length = min(a.length, model.config.max_position_embeddings)
    rows = torch.randint(0, model.config.vocab_size, (a.rows, length))
    with torch.no_grad():
        logits = torch.log_softmax(model(input_ids=rows[:, :-1], use_cache=False).logits.double(), -1)
    want = logits.gather(-1, rows[:, 1:, None]).squeeze(-1)
    found = multiattempt(a.binary, "logprobs", a.dir, [dict(id=i, input_ids=r.tolist()) for i, r in enumerate(rows)])
    difference = (want - torch.tensor([f["logprobs"] for f in found], dtype=torch.float64)).abs().max().item()

    # multiattempt's greedy answer must be made of transformers' likeliest tokens; ties within the tolerance are fair.
    prompt = rows[0, :4].tolist()
    room = min(GREEDY, model.config.max_position_embeddings - len(prompt))
    answer = multiattempt(a.binary, "generate", a.dir, [dict(id=0, input_ids=prompt)], "--max-new-tokens", str(room))[0]["output_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer]), use_cache=False).logits[0, len(prompt) - 1:-1]
    lag = (logits.max(-1).values - logits.gather(-1, torch.tensor(answer)[:, None]).squeeze(-1)).max().item()

    tokenizer = AutoTokenizer.from_pretrained(a.dir)
    says = tokenizer.apply_chat_template([dict(role="user", content="1")], add_generation_prompt=True, tokenize=False)
    good = difference <= a.tolerance and lag <= 2 * a.tolerance
    print(json.dumps(dict(dir=a.dir, parameters=model.num_parameters(), largest_log_prob_difference=difference,
                          greedy_tokens=len(answer), greedy_logit_lag=lag, chat_template=says, equal=good)))
    sys.exit(not good)


if __name__ == "__main__":
    main()

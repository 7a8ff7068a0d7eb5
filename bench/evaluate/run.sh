#!/usr/bin/env bash
# Evaluates a small random Llama with SmolLM2's tokenizer on GSM8K's 1,319 test problems with two attempts each, and says
# what share of the time the sampler took: bench/evaluate/run.sh DIR, where DIR holds gsm8k.jsonl. `make smollm2` first.
set -euo pipefail
cd "$(dirname "$0")/../.."
data=$(cd "${1:?folder with gsm8k.jsonl}" && pwd)
tokenizer="${XDG_CACHE_HOME:-$HOME/.cache}/multiattempt/models/SmolLM2-135M-Instruct"
[ -d "$tokenizer" ] || { echo "make smollm2 makes the folder with the tokenizer" >&2; exit 2; }
out=out/bench-evaluate
rm -rf "$out"
mkdir -p "$out"
go run ./bench/evaluate -tokenizer "$tokenizer" -out "$out/model"
bin/multiattempt eval --state-dir "$out/data" --model "$out/model" --data-dir "$data" --id bench-evaluate \
	--sets gsm8k --attempts 2 --set data.train=gsm8k --set prompt.feedback_role=user --set attempts.budget=per_attempt \
	--set evaluation.max_new_tokens=64 --set evaluation.limit=0 --set evaluation.shard_size=128 --set model.max_length=768 \
	--set attempts.max=2 --set data.problems_per_step=8 --set update.minibatch=8 --temporal-port 0 --ui-port 0 --s3-port 0

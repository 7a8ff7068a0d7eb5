#!/bin/sh
# Makes folders with the tokenizers of Qwen2, Qwen2.5, Qwen2.5-Math and Llama 3 to 3.2 for the current user, and prints where.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target="${XDG_CACHE_HOME:-$HOME/.cache}/multiattempt/tokenizers"

if [ ! -f "$target/done" ] || [ "$here/make.py" -nt "$target/done" ] || [ "$here/requirements.txt" -nt "$target/done" ]; then
	mkdir -p "$target"
	work=$(mktemp -d "$target/.fetch.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	python3 -m pip download --quiet --no-deps --require-hashes --dest "$work" -r "$here/requirements.txt" >&2
	for wheel in "$work"/*.whl; do
		python3 -m zipfile -e "$wheel" "$work/wheels"
	done
	python3 "$here/make.py" "$work/wheels/dashscope/resources/qwen.tiktoken" "$work/wheels/llama_models/llama3/tokenizer.model" "$target"
	touch "$target/done"
fi
echo "$target"

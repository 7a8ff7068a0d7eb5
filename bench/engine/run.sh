#!/bin/sh
# Measures this project's engine beside PyTorch and transformers: same weights, same tokens, same machine, one run.
# Usage: bench/engine/run.sh [flags of bench/engine, for example -part sampling -n 5 -backend xla:cuda]
# PYTHON names an interpreter that has torch and transformers; without it one is installed into out/bench-engine.
# BINARY names a bench/engine that is built already; with it and PYTHON no network and no Go are needed.
set -eu

cd "$(dirname "$0")/../.."
out=out/bench-engine
python=${PYTHON:-}
binary=${BINARY:-}
model="${XDG_CACHE_HOME:-$HOME/.cache}/multiattempt/models/SmolLM2-135M-Instruct"

mkdir -p "$out"
if [ -z "$python" ]; then
	venv=$out/venv
	python=$venv/bin/python
	if ! cmp -s bench/engine/requirements.txt "$venv/requirements.txt"; then
		echo "installing PyTorch and transformers into $venv" >&2
		rm -rf "$venv"
		python3 -m venv "$venv"
		"$python" -m pip install --quiet --disable-pip-version-check -r bench/engine/requirements.txt
		cp bench/engine/requirements.txt "$venv/requirements.txt"
	fi
fi
if [ -z "$binary" ]; then
	binary=$out/engine
	go build -o "$binary" ./bench/engine
fi
if [ -d "$model" ]; then
	set -- -smollm2 "$model" "$@"
else
	echo "no SmolLM2-135M (make smollm2): the small model only" >&2
fi
exec "$binary" -python "$python" "$@"

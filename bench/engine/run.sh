#!/bin/sh
# Measures this project's engine beside PyTorch and transformers: same weights, same tokens, same machine, one run.
# Usage: bench/engine/run.sh [sampling|training|all] [flags of bench/engine/PART, for example -n 5 -backend xla:cuda]
# PYTHON names an interpreter that has torch and transformers; without it one is installed into out/bench-engine.
# BIN names a folder with bench/engine/sampling and training built already; with PYTHON, neither network nor Go is needed.
set -eu

cd "$(dirname "$0")/../.."
out=out/bench-engine
python=${PYTHON:-}
bin=${BIN:-}
model="${XDG_CACHE_HOME:-$HOME/.cache}/multiattempt/models/SmolLM2-135M-Instruct"
part=all
case "${1:-}" in sampling | training | all)
	part=$1
	shift
	;;
esac

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
if [ -z "$bin" ]; then
	bin=$out
	go build -o "$bin/" ./bench/engine/...
fi
if [ "$part" != training ]; then
	if [ -d "$model" ]; then
		smollm2=$model
	else
		echo "no SmolLM2-135M (make smollm2): random weights of its shape take its place" >&2
		smollm2=random
	fi
	"$bin/sampling" -python "$python" -smollm2 "$smollm2" "$@"
fi
if [ "$part" != sampling ]; then
	"$bin/training" -python "$python" "$@"
fi

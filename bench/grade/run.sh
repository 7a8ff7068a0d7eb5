#!/bin/sh
# Grades the gold answers of MATH-500, OlympiadBench and Minerva Math against themselves and their neighbours, with this
# project's grader and with Math-Verify, and prints the times of both. Usage: bench/grade/run.sh [FOLDER WITH THE SETS]
set -eu

cd "$(dirname "$0")/../.."
data=${1:-${MULTIATTEMPT_DATA:-../shared/benchmarks}}
repeat=${REPEAT:-3}
out=out/bench-grade
venv=$out/venv

mkdir -p "$out"
if ! cmp -s bench/grade/requirements.txt "$venv/requirements.txt"; then
	echo "installing Math-Verify into $venv" >&2
	rm -rf "$venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check -r bench/grade/requirements.txt
	cp bench/grade/requirements.txt "$venv/requirements.txt"
fi

go build -o "$out/grade" ./bench/grade
"$out/grade" -data "$data" -write "$out/pairs.jsonl"
echo "timing Math-Verify: some minutes" >&2
"$venv/bin/python" bench/grade/math_verify_times.py "$out/pairs.jsonl" "$out/math-verify.jsonl" "$repeat"
"$out/grade" -data "$data" -compare "$out/math-verify.jsonl" -repeat "$repeat"

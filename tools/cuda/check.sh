#!/usr/bin/env bash
# Runs on a machine with an NVIDIA GPU what cannot be checked without one. From the repository's root, after tools/cuda/build.sh:
#
#   tools/cuda/check.sh [CHECK…]     smoke numerics engine sampler determinism qwen-bfloat16 qwen-float32; all when none is named
#
# Environment: PYTHON, an interpreter with jax[cuda13] (for its XLA plugin; else tools/xla/install-cuda.sh must have run) and,
# for the comparison, torch and transformers; BIN, the folder of the binaries; OUT, where the log goes too; LIMIT, seconds a
# check may take. It says of each check whether it passed and how long it took, and goes on after a failure.
set -uo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
BIN=$(cd "${BIN:-bin/cuda}" && pwd) || exit 1
LIMIT=${LIMIT:-280}
[ -z "${OUT:-}" ] || exec > >(tee "$OUT/cuda-check.log") 2>&1
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false TRANSFORMERS_VERBOSITY=error

# The plugin lies in the Python environment, unless it was installed for the user.
if [ -z "${MULTIATTEMPT_XLA_CUDA_PLUGIN:-}" ]; then
	plugin=$("$PYTHON" -c 'import importlib.util as u; print(u.find_spec("jax_plugins.xla_cuda13").submodule_search_locations[0] + "/xla_cuda_plugin.so")' 2>/dev/null)
	[ -f "${plugin:-}" ] || plugin="${XDG_CACHE_HOME:-$HOME/.cache}/multiattempt/xla-cuda/jax_plugins/xla_cuda13/xla_cuda_plugin.so"
	export MULTIATTEMPT_XLA_CUDA_PLUGIN=$plugin
fi
echo "plugin $MULTIATTEMPT_XLA_CUDA_PLUGIN"
[ -f "$MULTIATTEMPT_XLA_CUDA_PLUGIN" ] || { echo "there is no such file: install jax[cuda13] for $PYTHON, or run tools/xla/install-cuda.sh"; exit 1; }
nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used --format=csv,noheader || { echo "nvidia-smi does not work"; exit 1; }
site=$(dirname "$(dirname "$(dirname "$MULTIATTEMPT_XLA_CUDA_PLUGIN")")")
ls -d "$site"/nvidia/*/ 2>/dev/null | xargs -n 1 basename 2>/dev/null | tr '\n' ' '; echo
chmod +x "$BIN"/* 2>/dev/null

failed=0
# check NAME COMMAND… runs a command and reports on it.
check() {
	local name=$1 start status; shift
	echo "== $name: $*"
	start=$(date +%s)
	timeout --kill-after=5 "$LIMIT" "$@"
	status=$?
	if [ $status -eq 0 ]; then echo "== $name passed in $(($(date +%s) - start)) s"; else
		echo "== $name FAILED with status $status after $(($(date +%s) - start)) s"; failed=$((failed + 1)); fi
	return $status
}


smoke() { check smoke "$BIN/training" -backend xla:cuda -shape tiny -n 2 -rollout; }

numerics() { (cd internal/nn && check numerics "$BIN/nn.test" -test.v -test.run 'Agree|BFloat16' -test.timeout "${LIMIT}s" | grep -E '^ *(---|==|ok|PASS|FAIL|panic)|differ|rror' | grep -v '/go '; exit "${PIPESTATUS[0]}"); }

engine() { (cd internal/engine && check engine "$BIN/engine.test" -test.v -test.run 'Adapters|Trainer|Microbatches|NotFinite|Company|AgreesWithTrainer' -test.timeout "${LIMIT}s" | grep -E '^ *(---|==|ok|PASS|FAIL|panic)|differ|rror' | grep -v '/go '; exit "${PIPESTATUS[0]}"); }

# The sampler's own tests, and the folders that transformers wrote: log-probabilities, gradients and greedy tokens.
sampler() { (cd internal/engine && check sampler "$BIN/engine.test" -test.v -test.run 'SampleMatches|SampleIsAFunction|BFloat16Sampler|Distributions|NoRepeat|TestGreedy|ModelsCompute' -test.timeout "${LIMIT}s" | grep -E '^ *(---|==|ok|PASS|FAIL|panic)|differ|rror' | grep -v '/go '; exit "${PIPESTATUS[0]}"); }

# Two processes must leave equal bytes.
determinism() {
	local options=(-shape smollm2-135m -episodes 16 -microbatch 8 -prompt 64 -length 256 -n 2) one two
	for kind in "-rank 16 -compute bfloat16" "-rank 0 -compute float32"; do
		# shellcheck disable=SC2086 # kind is several words
		one=$(check "determinism $kind" "$BIN/training" -backend xla:cuda "${options[@]}" $kind | tee /dev/stderr | grep '^digest')
		# shellcheck disable=SC2086
		two=$(check "determinism $kind" "$BIN/training" -backend xla:cuda "${options[@]}" $kind | grep '^digest')
		if [ -n "$one" ] && [ "$one" = "$two" ]; then echo "== determinism passed: two processes, one digest ($kind)"; else
			echo "== determinism FAILED ($kind): '$one' and '$two'"; failed=$((failed + 1)); fi
	done
}

# Qwen2.5-1.5B's shape with random weights: rollout, then an update with adapters, beside PyTorch on the same rows.
qwen() {
	check "qwen $1" "$BIN/training" -backend xla:cuda -shape qwen2.5-1.5b -compute "$1" -rank 32 -episodes 32 -microbatch 8 -prompt 128 \
		-length 1024 -n 2 -rollout -python "$PYTHON" -modes "${MODES:-eager}"
}

for name in "${@:-smoke numerics engine sampler determinism qwen-bfloat16 qwen-float32}"; do
	for one in $name; do
		case $one in
		smoke | determinism) "$one" ;;
		numerics | engine | sampler) "$one" || failed=$((failed + 1)) ;;
		qwen-*) qwen "${one#qwen-}" ;;
		*) echo "unknown check $one"; failed=$((failed + 1)) ;;
		esac
	done
done
echo "$failed failed"
exit $((failed > 0))

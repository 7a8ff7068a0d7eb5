#!/usr/bin/env bash
# How much of a slow way to the store a run waits for: a checkpoint after every iteration, uploads through one link of RATE
# bytes a second. PRESET, N, RATE, BINARY and SET (further arguments) change what is measured; RATE=0 is the store as it is.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${BINARY:-bin/multiattempt} state=$(mktemp -d) jobs=()
end() {
	kill "${jobs[@]}" 2>/dev/null || true
	wait || true
	rm -rf "$state"
}
trap end EXIT
ready() { until grep -qs "$2" "$1"; do kill -0 "$3" || { cat "$1" >&2; exit 1; }; sleep 0.1; done; }
"$binary" up --only temporal,store --state-dir "$state/services" --temporal-port 0 --ui-port 0 --s3-port 0 >"$state/up.log" 2>&1 &
jobs+=($!)
ready "$state/up.log" '^Ready' $!
named() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$state/services/$1.json" "$2"; }
python3 bench/durability/link.py "$(named endpoints s3)" "${RATE:-2000000}" >"$state/link.log" &
jobs+=($!)
ready "$state/link.log" ':' $!
export MULTIATTEMPT_STORE_ACCESS_KEY=$(named credentials access_key) MULTIATTEMPT_STORE_SECRET_KEY=$(named credentials secret_key)
export MULTIATTEMPT_TEMPORAL_ADDRESS=$(named endpoints temporal) MULTIATTEMPT_STORE_ENDPOINT=$(cat "$state/link.log")
"$binary" worker --cache-dir "$state/worker" >"$state/worker.log" 2>&1 &
jobs+=($!)
"$binary" train --preset "${PRESET:-quickstart}" --run overlap --set "iterations=${N:-8}" --set checkpoint.every=1 ${SET:-} \
	--set evaluation.every=0 --set 'evaluation.final_attempts=[]' --follow >"$state/train.log" 2>&1 || { cat "$state/train.log" "$state/worker.log" >&2; exit 1; }
python3 - "$state" <<'END'
import glob, json, os, sys
state = sys.argv[1]
steps = json.load(open(glob.glob(state + "/services/objects/*/runs/overlap/timings/000000.json")[0]))[2:]
mean = lambda key: sum(s.get(key, 0) for s in steps) / len(steps)
ends = [os.stat(f).st_mtime for f in sorted(glob.glob(state + "/services/objects/*/runs/overlap/records/*.json"))]
print("iterations counted:", len(steps))
print(f"{'iteration_seconds':26} {(ends[-1] - ends[1]) / len(steps):8.2f}")
for key in sorted(steps[0]):
    if key.endswith("seconds"):
        print(f"{key:26} {mean(key):8.2f}")
parts = glob.glob(state + "/services/objects/*/runs/overlap/checkpoints/*/manifest.json")
size = sum(f["ref"]["size"] for f in json.load(open(sorted(parts)[-1]))["files"])
print(f"{'checkpoint, MB':26} {size / 1e6:8.1f}")
END

#!/usr/bin/env bash
# What durability costs on this machine: checkpoints against the disk, iterations as a workflow against the same loop in one
# process. PRESET, N, ROUNDS, SET ("path=value …"), BACKEND and DIR change what is measured; AHEAD is a command to put before
# what is timed.
set -euo pipefail
cd "$(dirname "$0")/../.."
state=out/bench-durability
mkdir -p out
go build -o bin/bench-durability ./bench/durability
go build -o bin/loop ./bench/loop
${AHEAD:-} bin/bench-durability -dir "${DIR:-out}"

rm -rf "$state"
bin/multiattempt up --state-dir "$state" --backend "${BACKEND:-auto}" --temporal-port 0 --ui-port 0 --s3-port 0 --web-port 0 >"$state.log" 2>&1 &
up=$!
trap 'kill $up 2>/dev/null; wait $up || true' EXIT
until grep -q '^Ready' "$state.log"; do
	kill -0 $up || { cat "$state.log" >&2; exit 1; }
	sleep 0.2
done
address=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["temporal"])' "$state/endpoints.json")
echo "the same through the installation's S3 service:"
${AHEAD:-} bin/bench-durability -dir "${DIR:-out}" -state "$state"
sets=()
for s in ${SET:-}; do sets+=(-set "$s"); done
${AHEAD:-} bin/bench-durability -temporal "$address" -loop bin/loop -backend "${BACKEND:-auto}" -preset "${PRESET:-quickstart}" \
	-n "${N:-6}" -rounds "${ROUNDS:-2}" "${sets[@]}"

#!/usr/bin/env bash
# What durability costs on this machine. PRESET, N and DIR change what is measured.
set -euo pipefail
cd "$(dirname "$0")/../.."
state=out/bench-durability
mkdir -p out
rm -rf "$state"
bin/multiattempt up --state-dir "$state" --temporal-port 0 --ui-port 0 --s3-port 0 >"$state.log" 2>&1 &
up=$!
trap 'kill $up 2>/dev/null; wait $up || true' EXIT
until grep -q '^Ready' "$state.log"; do
	kill -0 $up || { cat "$state.log" >&2; exit 1; }
	sleep 0.2
done
address=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["temporal"])' "$state/endpoints.json")
go run ./bench/durability -dir "${DIR:-out}" -temporal "$address" -preset "${PRESET:-quickstart}" -n "${N:-6}"

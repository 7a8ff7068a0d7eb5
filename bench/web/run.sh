#!/usr/bin/env bash
# run.sh [STEPS [EPISODES]]: makes a synthetic run in the store of services of its own and measures the pages about it.
set -euo pipefail
cd "$(dirname "$0")/../.."
steps=${1:-1280} episodes=${2:-1024}
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$dir"' EXIT
go build -o "$dir/bench" ./bench/web
bin/multiattempt up --state-dir "$dir/state" --temporal-port 0 --ui-port 0 --s3-port 0 --web-port 0 >"$dir/up.log" 2>&1 &
pid=$!
until grep -q Ready "$dir/up.log"; do kill -0 $pid || { cat "$dir/up.log"; exit 1; }; sleep 0.2; done
echo "making $steps iterations of $episodes episodes"
time "$dir/bench" make -state-dir "$dir/state" -steps "$steps" -problems "$episodes"
bin/multiattempt web --state-dir "$dir/state" --cache-dir "$dir/cache" --web 127.0.0.1:0 >"$dir/web.log" 2>&1 &
pid=$!
until grep -q Pages "$dir/web.log"; do kill -0 $pid || { cat "$dir/web.log"; exit 1; }; sleep 0.2; done
"$dir/bench" measure -url "$(awk '/^Pages/{print $2}' "$dir/web.log")" -pid $pid
du -sh "$dir/cache" "$dir/state" | sed "s|$dir/||"

#!/bin/sh
# Writes NOTICE: what the all-in-one program contains, by module and licence. Fails on a licence that nobody has looked at.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

GOBIN="$work" go install github.com/google/go-licenses@v1.6.0
cd "$root/standalone"
# go-licenses tells the standard library apart by GOROOT.
GOROOT=$(go env GOROOT) "$work/go-licenses" report . --ignore multiattempt --template "$root/tools/notice/module.tpl" \
	>"$work/found" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }

awk -F '\t' '
	NR == FNR { known[$1] = $2; next }
	NF < 3 { next }
	$3 == "Unknown" && !($1 in known) { print "no licence found for " $1 ": look, and add it to tools/notice/known.tsv" > "/dev/stderr"; bad = 1; next }
	{ printf "%-72s %-44s %s\n", $1, $2, $3 == "Unknown" ? known[$1] : $3 }
	END { exit bad }
' "$root/tools/notice/known.tsv" "$work/found" >"$work/table"
cat "$root/tools/notice/header.txt" "$work/table" >"$root/NOTICE"

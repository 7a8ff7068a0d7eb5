#!/bin/sh
# Prints the path of promtool: the machine's own, or the one of Debian's package prometheus, unpacked below .cache without
# installing anything.
set -eu
if command -v promtool; then
	exit 0
fi
root=$(cd "$(dirname "$0")/../.." && pwd)
tool=$root/.cache/promtool/usr/bin/promtool
if [ ! -x "$tool" ]; then
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	chmod 755 "$work"
	(cd "$work" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; }) >&2
	mkdir -p "$root/.cache/promtool"
	dpkg-deb -x "$work"/prometheus_*.deb "$root/.cache/promtool"
fi
echo "$tool"

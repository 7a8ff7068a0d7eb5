#!/usr/bin/env bash
# fetch.sh          replaces the chart library in internal/web/static by the pinned release, from npm
# fetch.sh axe DIR  puts axe-core, the accessibility checker of the browser tests, into DIR
set -euo pipefail
cd "$(dirname "$0")/../.."

uplot=uplot@1.6.32
uplot_sha256=4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d
axe=axe-core@4.14.1
axe_sha256=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745

# pack NAME@VERSION SHA256 DIR: downloads a package, checks it and unpacks it below DIR/package.
pack() {
	local file
	file=$(cd "$3" && npm pack --silent "$1")
	echo "$2  $3/$file" | sha256sum --check --quiet
	tar -xzf "$3/$file" -C "$3"
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
case "${1:-uplot}" in
uplot)
	pack $uplot $uplot_sha256 "$tmp"
	cp "$tmp/package/dist/uPlot.iife.min.js" internal/web/static/uplot.js
	cp "$tmp/package/dist/uPlot.min.css" internal/web/static/uplot.css
	cp "$tmp/package/LICENSE" internal/web/static/uplot.LICENSE.txt
	;;
axe)
	mkdir -p "$2"
	pack $axe $axe_sha256 "$tmp"
	cp "$tmp/package/axe.min.js" "$2/axe-4.14.1.min.js"
	;;
*)
	sed -n '2,3s/^# //p' "$0" >&2
	exit 2
	;;
esac

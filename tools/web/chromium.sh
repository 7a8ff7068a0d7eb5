#!/usr/bin/env bash
# chromium.sh: makes sure that Chromium is installed, from Debian's packages where that is allowed.
set -euo pipefail
for name in chromium chromium-browser google-chrome headless_shell; do
	command -v "$name" >/dev/null && exit 0
done
command -v apt-get >/dev/null || { echo "chromium.sh: install Chromium first: the browser tests drive it" >&2; exit 1; }
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq
$sudo apt-get install -y -qq chromium >/dev/null

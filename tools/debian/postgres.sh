#!/bin/sh
# Prints the folder of PostgreSQL's programs, and installs Debian's package first where there is none.
set -eu
find_programs() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }
programs=$(find_programs)
if [ ! -x "$programs/initdb" ]; then
	{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql; } >&2
	programs=$(find_programs)
fi
echo "$programs"

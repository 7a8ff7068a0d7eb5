#!/bin/sh
# Makes Temporal's two databases and brings their schemas up to the version of this image. Safe to repeat.
set -eu
schema=${SCHEMA_DIR:-/etc/temporal/schema/postgresql/v12}

# update DATABASE FOLDER
update() {
	temporal-sql-tool --database "$1" update-schema --schema-dir "$schema/$2/versioned" 2>&1
}

# layout DATABASE FOLDER: only a database that has no version at all is set up, since that would reset the version of
# every other.
layout() {
	if answer=$(update "$1" "$2"); then
		echo "$1: up to date"
		return
	fi
	case $answer in
	*'relation '*schema_version*' does not exist'*) ;;
	*"database "*"$1"*" does not exist"*) temporal-sql-tool --database "$1" create-database ;;
	*)
		echo "$answer" >&2
		return 1
		;;
	esac
	temporal-sql-tool --database "$1" setup-schema --version 0.0
	update "$1" "$2"
}

layout temporal temporal
layout temporal_visibility visibility

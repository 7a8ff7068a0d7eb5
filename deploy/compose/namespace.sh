#!/bin/sh
# Makes the namespace TEMPORAL_NAMESPACE unless it exists, and registers the search attributes that it lacks. Safe to repeat.
set -eu

for attempt in $(seq 60); do
	if temporal operator cluster health >/dev/null 2>&1; then
		break
	fi
	[ "$attempt" -lt 60 ] || exit 1
	echo "Temporal at $TEMPORAL_ADDRESS does not answer yet ($attempt)"
	sleep 2
done
temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
	temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"

# A new namespace reaches the server's caches within seconds.
for attempt in $(seq 30); do
	known=$(temporal operator search-attribute list --namespace "$TEMPORAL_NAMESPACE" 2>/dev/null) && break
	[ "$attempt" -lt 30 ] || exit 1
	sleep 1
done
# register NAME TYPE
register() {
	echo "$known" | grep -qw "$1" ||
		temporal operator search-attribute create --namespace "$TEMPORAL_NAMESPACE" --name "$1" --type "$2"
}
register RunName Keyword
register Phase Keyword
register Step Int
register BestScore Double
register Model Keyword

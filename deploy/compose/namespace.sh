#!/bin/sh
# Makes the namespace TEMPORAL_NAMESPACE unless it exists. Search attributes are the worker's to register.
set -eu

for attempt in $(seq 60); do
	if temporal operator cluster health >/dev/null 2>&1; then
		temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
			temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
		exit 0
	fi
	echo "Temporal at $TEMPORAL_ADDRESS does not answer yet ($attempt)"
	sleep 2
done
exit 1

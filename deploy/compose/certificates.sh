#!/bin/sh
# Makes an authority and certificates for deploy/compose/tls.yml in the folder that its argument names, unless they exist.
# The authority's key, ca.key, signs nothing more: move it to a safe place.
set -eu
dir=${1:?usage: certificates.sh FOLDER}
mkdir -p "$dir"
cd "$dir"
[ ! -e ca.pem ] || { echo "$dir holds certificates already" >&2; exit 1; }
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=multiattempt authority" \
	-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem 2>/dev/null

# issue NAME USAGE HOSTS
issue() {
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr" 2>/dev/null
	printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$2" "$3" >"$1.ext"
	openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile "$1.ext" -out "$1.pem" 2>/dev/null
	rm "$1.csr" "$1.ext"
}
issue temporal serverAuth,clientAuth DNS:temporal,DNS:localhost,IP:127.0.0.1
issue objects serverAuth DNS:objects,DNS:localhost,IP:127.0.0.1
issue client clientAuth DNS:worker
# Containers read them as users of their own.
chmod 644 ./*.pem client.key temporal.key objects.key

#!/bin/sh
# Installs the XLA plugin for NVIDIA GPUs and NVIDIA's libraries for the current user, checked by sha256: about 2 GB to
# download, 4 GB of disk. It needs a driver for CUDA 13 at run time, not to install.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target="${XDG_CACHE_HOME:-$HOME/.cache}/multiattempt/xla-cuda"
plugin="$target/jax_plugins/xla_cuda13/xla_cuda_plugin.so"

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || { echo "XLA plugin for NVIDIA GPUs: there is none for $(uname -s) on $(uname -m)" >&2; exit 1; }
if [ -f "$plugin" ] && cmp -s "$here/requirements-cuda.txt" "$target/requirements.txt"; then
	exit 0
fi
command -v python3 >/dev/null || { echo "XLA plugin for NVIDIA GPUs: python3 with pip is missing" >&2; exit 1; }
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$(dirname "$target")/.xla-cuda.XXXXXX")
trap 'rm -rf "$work"' EXIT
# --python-version lets any python3 take the wheels: nothing in them is run by Python.
python3 -m pip install --quiet --no-deps --no-compile --require-hashes --only-binary=:all: --python-version 3.12 \
	--target "$work/new" -r "$here/requirements-cuda.txt"
cp "$here/requirements-cuda.txt" "$work/new/requirements.txt"
rm -rf "$target"
mv "$work/new" "$target"
echo "XLA plugin for NVIDIA GPUs: installed $plugin"

#!/usr/bin/env bash
# Builds what tools/cuda/check.sh runs on a machine with a GPU, which needs neither Go nor a network: into bin/cuda.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p bin/cuda
export GOEXPERIMENT=simd
go test -c -trimpath -ldflags '-s -w' -o bin/cuda/nn.test ./internal/nn
go test -c -trimpath -ldflags '-s -w' -o bin/cuda/engine.test ./internal/engine
go build -trimpath -ldflags '-s -w' -o bin/cuda/training ./bench/engine/training
ls -l bin/cuda

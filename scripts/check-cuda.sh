#!/usr/bin/env bash
# Type-checks and lints everything behind the features `cuda`, `cudnn` and `nccl`, with nothing of CUDA installed: scripts/no-nvcc.sh stands in for
# the compiler of kernels, so nothing that this makes may be linked or run. Uses a target folder of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
export NVCC="$PWD/scripts/no-nvcc.sh" CUDA_COMPUTE_CAP=80 CUDARC_CUDA_VERSION=13000
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/check-cuda"
cargo clippy -p ebm-engine-gpu -p ebm-cli --features ebm-engine-gpu/nccl,ebm-cli/cuda,ebm-cli/cudnn --all-targets "$@" -- -D warnings

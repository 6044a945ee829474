#!/usr/bin/env bash
# Takes every energy kind of the catalogue to PyTorch and compares energies and slopes; weights of PyTorch's own modules come back.
# usage: check-torch.sh [PYTHON]   (a Python that has torch, numpy and safetensors; else one is made in target/ by pip)
# EBM names the program; without it `cargo build` makes one.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}"
python="${1:-${EBM_TORCH_PYTHON:-}}"
if [ -z "$python" ]; then
    tools="$target/torch-tools"
    python="$tools/bin/python"
    [ -x "$python" ] || python3 -m venv "$tools"
    "$python" -c 'import torch, safetensors' 2>/dev/null ||
        "$tools/bin/pip" install --quiet --disable-pip-version-check torch numpy safetensors
fi
if [ -z "${EBM:-}" ]; then
    cargo build -q -p ebm-cli
    EBM="$target/debug/ebm"
fi
exec "$python" scripts/check-torch.py "$EBM"

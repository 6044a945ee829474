#!/usr/bin/env bash
# Trains for a few steps, is interrupted and resumed, and reads the event files with TensorBoard's own reader.
# usage: check-tensorboard.sh [PYTHON]   (a Python that has tensorboard; else one is made in target/ by pip)
set -euo pipefail
cd "$(dirname "$0")/.."
python="${1:-${EBM_TENSORBOARD_PYTHON:-}}"
if [ -z "$python" ]; then
    tools="${CARGO_TARGET_DIR:-target}/tensorboard-tools"
    python="$tools/bin/python"
    [ -x "$python" ] || python3 -m venv "$tools"
    "$python" -c 'import tensorboard' 2>/dev/null ||
        "$tools/bin/pip" install --quiet --disable-pip-version-check tensorboard==2.21.0 pillow
fi
EBM_TENSORBOARD_PYTHON="$python" cargo test -p ebm-tests --test whole tensorboard:: -- --nocapture

#!/usr/bin/env bash
# safetensors.numpy stores a transposed or column-major array with its numbers in the wrong places, and says nothing.
#
# safetensors 0.8.0, numpy 2.4.6: `save_file` writes the bytes as they lie in memory under the shape of the array, so `x.T`, arrays in
# Fortran's order (what LAPACK, pandas and many readers of files return) and slices with a step come back with the right shape and
# dtype and other entries. `np.ascontiguousarray` before it helps. safetensors.torch refuses such tensors with an error that says so.
#
# For us: our files are written from tensors in one piece; golden files come from PyTorch.
source "$(dirname "$0")/lib.sh"
packages python3 safetensors==0.8.0 numpy==2.4.6
python - <<'P'
import numpy as np
from safetensors.numpy import load, save

x = np.arange(6, dtype=np.float32).reshape(2, 3)
for name, array in {"row-major": x, "Fortran's order": np.asfortranarray(x), "transposed": x.T}.items():
    back = load(save({"x": array}))["x"]
    same = np.array_equal(back, array)
    print(f"{name}: saved {array.tolist()}, read {back.tolist()}")
    assert back.shape == array.shape and same == (name == "row-major"), "this has changed"
    assert np.array_equal(load(save({"x": np.ascontiguousarray(array)}))["x"], array), "this has changed"
P

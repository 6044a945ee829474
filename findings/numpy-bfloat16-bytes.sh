#!/usr/bin/env bash
# An array of bfloat16, saved by numpy, comes back as two raw bytes an entry.
#
# numpy 2.4.6 with ml_dtypes 0.6.0 (what JAX's arrays become): `np.save` and `np.savez` write the type as `|V2`, "void of two bytes", and
# `np.load` returns that. There is no warning on either side; the entries are there and `.view(ml_dtypes.bfloat16)` has them back, if whoever
# reads knows that they were no other two bytes. Floats of 8 bits come back as `|V1`.
#
# For us: `|V2` is refused with the types that are read.
source "$(dirname "$0")/lib.sh"
packages python3 numpy==2.4.6 ml_dtypes==0.6.0
python - <<'P'
import io
import warnings

import ml_dtypes
import numpy as np

warnings.simplefilter("error")


def through_a_file(dtype):
    file = io.BytesIO()
    np.save(file, np.arange(4).astype(dtype))
    file.seek(0)
    return np.load(file)


half, short, eighth = (through_a_file(t) for t in (np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn))
print("float16 as", half.dtype, "- bfloat16 as", short.dtype, short.tolist(), "- float8 as", eighth.dtype)
assert [str(a.dtype) for a in (half, short, eighth)] == ["float16", "|V2", "|V1"], "this has changed"
assert short.view(ml_dtypes.bfloat16).astype(float).tolist() == [0, 1, 2, 3]
P

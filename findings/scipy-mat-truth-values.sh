#!/usr/bin/env bash
# A mask that goes through a .mat file selects other rows.
#
# scipy 1.17.1: `savemat` marks truth values as logical, `loadmat` hands them back as bytes. `x[mask]` then takes rows 0 and 1 again and again in
# place of those that are marked, with no error unless the shapes tell. A vector comes back as (1, n), a number as (1, 1); with `squeeze_me`
# a table of one row loses its rows.
#
# For us: `.mat` arrays are images and labels, never masks; shapes are taken as they stand in the file.
source "$(dirname "$0")/lib.sh"
packages python3 scipy==1.17.1 numpy==2.4.6
python - <<'P'
import io
import warnings

import numpy as np
from scipy.io import loadmat, savemat

warnings.simplefilter("error")
file = io.BytesIO()
savemat(file, {"mask": np.array([[True, False, True]]), "v": np.arange(3.0), "n": 2.0})
back = loadmat(file)
x = np.array([10, 20, 30])
mask = back["mask"].ravel()
print("mask as", mask.dtype, "selects", x[mask].tolist(), "in place of", x[[True, False, True]].tolist())
print("a vector of three is", back["v"].shape, "- a number", back["n"].shape, "- a row squeezed", loadmat(file, squeeze_me=True)["mask"].shape)
assert mask.dtype == np.uint8 and x[mask].tolist() == [20, 10, 20], "this has changed"
assert (back["v"].shape, back["n"].shape) == ((1, 3), (1, 1)), "this has changed"
P

#!/usr/bin/env bash
# Pillow cuts off pictures of sixteen bits at 255, and resizes palettes and bits by the nearest pixel whatever is asked for.
#
# Pillow 13.0.0: `convert("L")` of a grey picture with 16 bits does not scale, so all but the darkest of 256 parts is white; `convert("RGB")`
# does the same. `resize(..., BILINEAR)` of a picture with a palette (most GIFs, many small PNGs) or of single bits takes the nearest pixel:
# converted first, the result is up to 140 levels away. None of it warns.
#
# For us: sixteen bits become eight by scaling; palettes are resolved before anything else.
source "$(dirname "$0")/lib.sh"
packages python3 pillow==13.0.0 numpy==2.4.6
python - <<'P'
import io
import warnings

import numpy as np
from PIL import Image

warnings.simplefilter("error")
file = io.BytesIO()
Image.fromarray(np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4)).save(file, "PNG")
sixteen = Image.open(file)
grey = np.asarray(sixteen.convert("L")).ravel()
print("a ramp of 16 bits:", sixteen.mode, "as L", grey.tolist())
assert grey[0] == 0 and (grey[1:] == 255).all(), "this has changed"
assert (np.asarray(sixteen.convert("RGB"))[..., 0].ravel() == grey).all(), "this has changed"

noise = Image.fromarray((np.random.default_rng(0).random((64, 64, 3)) * 255).astype(np.uint8)).convert("P")
levels = lambda image: np.asarray(image.convert("RGB")).astype(int)
asked = levels(noise.resize((8, 8), Image.Resampling.BILINEAR))
meant = levels(noise.convert("RGB").resize((8, 8), Image.Resampling.BILINEAR))
nearest = levels(noise.resize((8, 8), Image.Resampling.NEAREST))
print("a palette, bilinear: up to", abs(asked - meant).max(), "levels off, equal to nearest:", (asked == nearest).all())
assert (asked == nearest).all() and abs(asked - meant).max() > 50, "this has changed"

bits = Image.fromarray(np.random.default_rng(0).random((64, 64)) > 0.5)
values = sorted({int(v) for v in np.asarray(bits.resize((8, 8), Image.Resampling.BILINEAR)).ravel()})
print("bits, bilinear:", bits.mode, values)
assert values == [0, 1], "this has changed"
P

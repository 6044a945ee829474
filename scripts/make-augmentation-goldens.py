#!/usr/bin/env python3
"""Writes plugins/ebm-transitions/tests/golden/augment.npz: one image and what torchvision makes of it on bytes (through
Pillow) for fixed parameters. Arrays are uint8 (3, 32, 32); the parameters are in their names, `/`-separated.

Made with Pillow 13.0.0, torchvision 0.29.2, torch 2.15.0, numpy 2.4.6:
    python scripts/make-augmentation-goldens.py
"""
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
import torchvision.transforms.functional as F
from PIL import Image, __version__ as pillow
from torchvision.transforms import InterpolationMode

print("Pillow", pillow, "torchvision", torchvision.__version__, "torch", torch.__version__, "numpy", np.__version__)

SIDE = 32
y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
waves = np.stack([
    0.5 + 0.5 * np.sin(7 * x + 3 * y),
    0.5 + 0.5 * np.sin(5 * y - 4 * x * y + 1),
    0.5 + 0.5 * np.cos(9 * (x - 0.4) ** 2 + 6 * y),
], axis=-1)
# Edges, greys, black, white and saturated corners besides the smooth part and a little noise.
waves += np.random.default_rng(7).normal(0, 0.06, waves.shape)
waves[4:9, 20:28] = [1, 0, 0]
waves[22:28, 3:12] = 0.5
waves[12:15, 12:20] = 0
waves[28:32, 24:32] = 1
image = Image.fromarray((waves.clip(0, 1) * 255).round().astype(np.uint8), "RGB")

out = {"image": image}
for top, left, h, w in [(0, 0, 32, 32), (3, 5, 20, 17), (0, 7, 9, 12), (10, 10, 8, 8), (16, 0, 16, 31), (1, 1, 30, 30), (5, 20, 13, 10)]:
    out[f"crop/{top}/{left}/{h}/{w}"] = F.resized_crop(image, top, left, h, w, [SIDE, SIDE], InterpolationMode.BILINEAR)
out["flip"] = F.hflip(image)
for factor in (0.0, 0.2, 0.7, 1.3, 1.8):
    out[f"brightness/{factor}"] = F.adjust_brightness(image, factor)
    out[f"contrast/{factor}"] = F.adjust_contrast(image, factor)
    out[f"saturation/{factor}"] = F.adjust_saturation(image, factor)
for turn in (-0.4, -0.13, 0.05, 0.25, 0.4):
    out[f"hue/{turn}"] = F.adjust_hue(image, turn)
out["grey"] = F.rgb_to_grayscale(image, 3)
for kernel, sigma in ((5, 0.1), (5, 0.5), (5, 1.0), (5, 2.0), (11, 1.5)):
    out[f"blur/{kernel}/{sigma}"] = F.gaussian_blur(image, kernel, sigma)

arrays = {name: np.ascontiguousarray(np.asarray(v).transpose(2, 0, 1)) for name, v in out.items()}
path = Path(__file__).resolve().parent.parent / "plugins/ebm-transitions/tests/golden/augment.npz"
path = Path(sys.argv[1]) if len(sys.argv) > 1 else path
np.savez_compressed(path, **arrays)
print(path.name, path.stat().st_size, "bytes,", len(arrays), "arrays")

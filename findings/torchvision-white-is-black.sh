#!/usr/bin/env bash
# torchvision: white pixels of an image in bfloat16 or float16 become black.
#
# torchvision 0.29.2, torch 2.15.0, processor (x86-64): `to_dtype(image, torch.uint8, scale=True)` of transforms.v2, and `convert_image_dtype`, multiply
# by 255.999 in the image's own type. In half precision that is 256, and 256 as a byte is 0: each 1.0 of a sample is 0. There and back, 255
# comes back as 0; in bfloat16 128 of the 256 levels come back as others, in float16 16, in single precision none. No warning. `save_image` clamps
# after it has multiplied and has 255; `to_pil_image` refuses bfloat16. What a network under autocast draws, and FID of it, is so spoilt where
# it is brightest.
#
# For us: samples are in single or double precision, and a pixel is clamped before it becomes a byte.
source "$(dirname "$0")/lib.sh"
packages python3 torchvision==0.29.2 torch==2.15.0 numpy==2.4.6
python - <<'P'
import torch
from torchvision.transforms.functional import convert_image_dtype
from torchvision.transforms.v2.functional import to_dtype

levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
found = {}
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    white = torch.ones(1, 1, 1, dtype=dtype)
    byte = to_dtype(white, torch.uint8, scale=True).item(), convert_image_dtype(white, torch.uint8).item()
    back = to_dtype(to_dtype(levels, dtype, scale=True), torch.uint8, scale=True)
    found[dtype] = byte, int((back != levels).sum()), back.flatten()[-1].item()
    print(f"{dtype}: white is {byte}; there and back {found[dtype][1]} of 256 levels are others, 255 is {found[dtype][2]}")
assert found[torch.float32] == ((255, 255), 0, 255), "this has changed"
assert found[torch.bfloat16] == ((0, 0), 128, 0) and found[torch.float16] == ((0, 0), 16, 0), "this has changed"
P

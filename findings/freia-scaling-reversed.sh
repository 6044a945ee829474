#!/usr/bin/env bash
# FrEIA: a learned scaling has the log-determinant of the other direction when it is run backwards, and starts at 1 whatever is asked for.
#
# FrEIA 0.2: `LearnedElementwiseScaling` returns +Σs forwards and backwards, where the second is −Σs, so that a density that is computed along
# with draws (`rev=True`) is off by the factor exp 2Σs; its argument `init_scale` is multiplied by zeros, and the scale is 1. `InvertibleSigmoid` on images sums
# over channels only: a log-determinant of shape (B, H, W) in place of (B,), which adds up with others without an error where B is the width. Each
# other layer that was tried (couplings, ActNorm, orthogonal ones) has the log-determinant of its Jacobian both ways. Seen with torch 2.15.0,
# Python 3.11.
#
# For us: noise of `noise-contrast` has a density in closed form, and what it draws is tested against that.
source "$(dirname "$0")/lib.sh"
packages python3 FrEIA==0.2 torch==2.15.0 numpy==2.4.6
python - <<'P'
import torch
from FrEIA.modules import InvertibleSigmoid, LearnedElementwiseScaling

torch.set_default_dtype(torch.float64)
layer = LearnedElementwiseScaling([(3,)], init_scale=2.0)
start = layer.s.exp().unique().tolist()
layer.s.data = torch.tensor([[0.5, 1.0, 1.5]])
x = torch.randn(1, 3)
found, right = [], []
for backwards in (False, True):
    told = layer([x], rev=backwards)[1]
    jacobian = torch.autograd.functional.jacobian(lambda z: layer([z], rev=backwards)[0][0], x).reshape(3, 3)
    found.append(round(told.item(), 6))
    right.append(round(torch.linalg.slogdet(jacobian)[1].item(), 6))
print(f"log-determinants forwards and backwards: {found}, of the Jacobians {right}; asked for a scale of 2, at the start it is {start}")
assert (found, right, start) == ([3.0, 3.0], [3.0, -3.0], [1.0]), "this has changed"
image = torch.randn(4, 3, 8, 4)
shape = tuple(InvertibleSigmoid([(3, 8, 4)])([image])[1].shape)
total = torch.zeros(4) + InvertibleSigmoid([(3, 8, 4)])([image])[1]
print(f"sigmoid of four images: log-determinants of shape {shape}; added to four others: {tuple(total.shape)}")
assert shape == (4, 8, 4), "this has changed"
P

#!/usr/bin/env bash
# Distances between near points depend on how many points there are, and on where the origin is.
#
# torch 2.15.0: `torch.cdist` subtracts up to 25 rows and goes by |x|² + |y|² − 2x·y from 26 on; the distance of a point to itself is 0 with 25
# rows and up to 0.03 with 26 (768 numbers around 1), that of two points 0.0028 apart anything from 0 to four times as much. scikit-learn
# 1.9.1, `euclidean_distances` in double precision: the same at an offset of a thousand. An estimator that takes the logarithm of the nearest
# distance (entropies of Kozachenko and Leonenko), finds duplicates or sets a bandwidth sees it.
# `compute_mode="donot_use_mm_for_euclid_dist"` helps in torch.
#
# For us: products only rank the candidates; distances of the nearest are those of differences.
source "$(dirname "$0")/lib.sh"
packages python3 torch==2.15.0 scikit-learn==1.9.1 numpy==2.4.6
python - <<'P'
import numpy as np
import torch
from sklearn.metrics.pairwise import euclidean_distances

g = torch.Generator().manual_seed(0)
x = torch.randn(26, 768, generator=g) + 1
few, many = (torch.cdist(x[:n], x[:n]).diagonal().max().item() for n in (25, 26))
exact = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").diagonal().max().item()
print(f"torch, largest distance of a point to itself: {few} of 25 rows, {many:.4f} of 26, {exact} by differences")
assert few == 0 and many > 1e-3 and exact == 0, "this has changed"

pictures = torch.rand(200, 784, generator=g)
near = pictures + 1e-4 * torch.randn(200, 784, generator=g)
ratio = torch.cdist(pictures, near).diagonal() / (pictures - near).norm(dim=1)
print(f"torch, near copies of pictures: {ratio.min():.2f} to {ratio.max():.2f} times their distance")
assert ratio.min() < 0.5 and ratio.max() > 2, "this has changed"

r = np.random.default_rng(0)
rows = r.random((50, 784)) + 1000
close = rows + 1e-6 * r.normal(size=rows.shape)
ratio = np.diag(euclidean_distances(rows, close)) / np.linalg.norm(rows - close, axis=1)
print(f"scikit-learn at an offset of 1000: {ratio.min():.2f} to {ratio.max():.2f} times their distance")
assert ratio.min() < 0.5 and ratio.max() > 2, "this has changed"
P

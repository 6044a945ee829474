#!/usr/bin/env python3
"""PyTorch's time for single 3x3 convolutions, B 32: forward with input gradient, and weight gradient, in ms. The other side is
`cargo run --release -p ebm-engine-cpu --example layers`."""
import statistics, time
import torch
from torch.nn import functional as F


def timed(f, reps=30):
    times = []
    for i in range(reps + 5):
        t = time.perf_counter()
        f()
        if i >= 5:
            times.append(time.perf_counter() - t)
    return statistics.median(times) * 1e3


for channels, side in [(16, 32), (64, 32), (64, 16), (128, 8), (256, 4)]:
    x = torch.randn(32, channels, side, side).contiguous(memory_format=torch.channels_last)
    w = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
    g = torch.ones_like(x)
    back = lambda i, k: torch.ops.aten.convolution_backward(g, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [i, k, False])
    both = timed(lambda: (F.conv2d(x, w, padding=1), back(True, False)))
    print(f"{channels} channels, {side}x{side}: forward + input gradient {both:.3f} ms, weight gradient {timed(lambda: back(False, True)):.3f} ms")

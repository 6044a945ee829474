"""What a slope of 64 samples of a run costs through Python; `slope_cost.rs` beside it takes the same call from Rust.

    python slope_cost.py RUN [CALLS]
"""

import sys
import time

import numpy as np

import ebm_candle as ebm

model = ebm.load(sys.argv[1])
calls = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
x = np.random.default_rng(0).normal(size=(64, *model.shape)).astype(model.dtype)
times = []
for _ in range(calls):
    began = time.perf_counter()
    model.slope(x)
    times.append((time.perf_counter() - began) * 1e6)
times.sort()
print(f"Python  median {times[calls // 2]:8.1f} microseconds, fastest {times[0]:8.1f}")

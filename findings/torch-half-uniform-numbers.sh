#!/usr/bin/env bash
# Uniform numbers of PyTorch in bfloat16 are 0 once in 512, so an accept test takes moves that no chain should take.
#
# `torch.rand` in bfloat16 is 0 in a share of 1/512 and in float16 of 1/4,096 (in single precision once in 16.8 million). A Metropolis test
# `rand < exp(-increase)` in the type of the network takes as many of the moves that raise the energy by 20 nats, where it should take two in a
# thousand million; and `log(rand)` is minus infinity as often, so Gumbel noise and draws made of it are infinite. Seen with torch 2.15.0 on the
# processor.
#
# For us: uniform numbers of keys have 24 bits in single precision or 53 in double, and samples, energies and accept tests are never in half precision.
source "$(dirname "$0")/lib.sh"
packages python3 torch==2.15.0 numpy==2.4.6
python - <<'P'
import torch

torch.manual_seed(0)
n, zero = 1_000_000, {}
for dtype in (torch.bfloat16, torch.float16, torch.float32):
    zero[dtype] = float((torch.rand(n, dtype=dtype) == 0).double().mean())
    print(f"{dtype}: 0 in a share of {zero[dtype]:.6f}")
increase = torch.tensor(20.0, dtype=torch.bfloat16)
accepted = float((torch.rand(n, dtype=torch.bfloat16) < (-increase).exp()).double().mean())
print(f"moves with an increase of 20 nats that are accepted in bfloat16: {accepted:.5f}, should be {(-increase.double()).exp():.1e}")
assert zero[torch.bfloat16] > 0.001 and zero[torch.float16] > 0.0001 and zero[torch.float32] < 1e-5, "this has changed"
assert accepted > 0.001, "this has changed"
P

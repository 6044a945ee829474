#!/usr/bin/env bash
# Normal numbers of PyTorch on the processor depend on how many are asked for at once.
#
# With the same seed, `randn(15)` shares no number with the first fifteen of `randn(16)`: from 16 on numbers come in blocks of
# sixteen (eight pairs, cosines before sines), below that in pairs. If the number is no multiple of 16 the last sixteen are
# drawn once more, so that `randn(24)` and `randn(32)` part after the eighth number. Uniform numbers do not depend on it.
# Noise of chains then depends on the size of the batch: splitting a batch of 8 points of the plane in two changes it.
# Seen with torch 2.15.0, Python 3.11, x86-64.
#
# For us: random numbers are functions of key, chain and element; parity with other programs goes through stored noise.
source "$(dirname "$0")/lib.sh"
packages python3 torch==2.15.0 numpy==2.4.6
python - <<'P'
import torch


def draw(kind, *sizes):
    torch.manual_seed(0)
    return torch.cat([kind(n) for n in sizes])


def same(a, b):
    n = min(len(a), len(b))
    return int((a[:n] == b[:n]).sum())


normal, uniform = torch.randn, torch.rand
found = (
    same(draw(normal, 15), draw(normal, 16)),
    same(draw(normal, 24), draw(normal, 32)),
    same(draw(normal, 16), draw(normal, 8, 8)),
    same(draw(normal, 64), draw(normal, 32, 32)),
    same(draw(uniform, 15), draw(uniform, 16)),
)
print("equal numbers: 15 of 16: %d, 24 of 32: %d, 16 as 8 and 8: %d, 64 as 32 and 32: %d; uniform 15 of 16: %d" % found)
assert found == (0, 8, 0, 64, 15), "this has changed"
P

#!/usr/bin/env bash
# PyTorch: an energy with spectral norm is another one at each call while it trains, so a Langevin chain follows no fixed energy.
#
# `torch.nn.utils.parametrizations.spectral_norm` makes a power iteration in every forward pass in training mode: sixty sampler steps between two
# updates move the weights sixty times, and the energy of the same point with it. `eval()` before sampling stops it; the usual loop has no such
# line. Seen with torch 2.15.0.
#
# For us: power iteration comes once after each update (`EnergyFn::refreshed_buffers`); the same batch gives the same bits.
source "$(dirname "$0")/lib.sh"
packages python3 torch==2.15.0 numpy==2.4.6
python - <<'P'
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

torch.manual_seed(0)
net = nn.Sequential(spectral_norm(nn.Linear(64, 64)), nn.SiLU(), spectral_norm(nn.Linear(64, 1)))
x = torch.randn(4, 64)
with torch.no_grad():
    energies = torch.stack([net(x).squeeze(1) for _ in range(60)])
    moved = float((energies[-1] - energies[0]).abs().max() / energies[0].abs().max())
    net.eval()
    still = float((net(x) - net(x)).abs().max())
print(f"sixty calls on the same four points: energies move by {100 * moved:.0f} % in training mode, by {still} in evaluation mode")
assert moved > 0.01 and still == 0.0, "this has changed"
P

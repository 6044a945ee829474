#!/usr/bin/env bash
# torchebm: approximate score matching makes a Gaussian as many times too wide as there are dimensions, and a lost training shows the loss 0.1.
#
# torchebm 0.8.9: `ScoreMatching(hessian_method="approx")` divides the trace of the Hessian by the number of dimensions, so its minimum is another
# one. The precision of a Gaussian that is fitted to standard normal numbers in ten dimensions comes out as 0.1, where "exact" has 1; in one
# dimension both have 1. And `ContrastiveDivergence` returns the constant 0.1 for a loss that is not finite: a chain whose step is too large leaves
# parameters of NaN after the first update, with a flat, healthy curve above them. Neither warns. Seen with torch 2.15.0, Python 3.11.
#
# For us: each objective is tested for the law at which it is least; a step whose numbers are not finite changes nothing, and many end the run.
source "$(dirname "$0")/lib.sh"
packages python3 torchebm==0.8.9 torch==2.15.0 numpy==2.4.6
python - <<'P'
import torch
from torchebm.core import BaseModel
from torchebm.losses import ContrastiveDivergence, ScoreMatching
from torchebm.samplers import LangevinDynamics


class Gaussian(BaseModel):
    def __init__(self):
        super().__init__()
        self.precision = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x):
        return 0.5 * self.precision * x.square().sum(dim=-1)


def fitted(method, dimensions):
    """The precision that training ends at, on numbers with a mean square of exactly 1."""
    torch.manual_seed(0)
    model = Gaussian()
    loss = ScoreMatching(model, hessian_method=method, dtype=torch.float64)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5 / dimensions)
    x = torch.randn(500, dimensions, dtype=torch.float64)
    x /= x.square().mean().sqrt()
    for _ in range(60):
        optimiser.zero_grad()
        loss(x).backward()
        optimiser.step()
    return model.precision.item()


found = {(method, d): fitted(method, d) for method in ("exact", "approx") for d in (1, 10)}
for (method, d), precision in found.items():
    print(f"{method}, {d} dimensions: precision {precision:.3f}, should be 1")
assert abs(found["exact", 1] - 1) < 0.01 and abs(found["exact", 10] - 1) < 0.01, "this has changed"
# The trace is taken along random directions: a few hundredths of noise.
assert abs(found["approx", 1] - 1) < 0.1 and abs(found["approx", 10] - 0.1) < 0.01, "this has changed"

torch.manual_seed(0)
model = Gaussian()
loss = ContrastiveDivergence(
    model, LangevinDynamics(model, step_size=3.0, dtype=torch.float64), k_steps=2000, dtype=torch.float64
)
optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
shown = []
for _ in range(5):
    optimiser.zero_grad()
    value, _ = loss(torch.randn(64, 2, dtype=torch.float64))
    value.backward()
    optimiser.step()
    shown.append(round(value.item(), 6))
print(f"losses {shown} of a model whose parameter is {model.precision.item()}")
assert shown == [0.1] * 5 and model.precision.isnan(), "this has changed"
P

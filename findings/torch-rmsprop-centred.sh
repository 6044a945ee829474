#!/usr/bin/env bash
# Centred RMSprop of PyTorch runs away under a constant gradient.
#
# Mean of squares less square of the mean tends to 0 when the gradient stays the same, rounding makes it 0 or less, and the step
# becomes rate / eps-sized: at a rate of 0.01 single steps of more than 1 occur, and after 3,000 updates the weight is
# thousands away where plain RMSprop is at about -30. No NaN, no warning. Such gradients occur wherever an energy is linear in
# a parameter that data and samples do not see alike. Seen with torch 2.15.0, Python 3.11.
source "$(dirname "$0")/lib.sh"
packages python3 torch==2.15.0 numpy==2.4.6
python - <<'P'
import torch


def run(centered):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.RMSprop([weight], lr=0.01, centered=centered)
    largest = 0.0
    for _ in range(3000):
        weight.grad, before = torch.ones(1), weight.item()
        optimiser.step()
        largest = max(largest, abs(weight.item() - before))
    return weight.item(), largest


for centred in (False, True):
    print("centred %s: weight %.1f, largest step %.2f" % (centred, *run(centred)))
assert abs(run(False)[0]) < 40 and run(True)[0] < -1000 and run(True)[1] > 1, "this has changed"
P

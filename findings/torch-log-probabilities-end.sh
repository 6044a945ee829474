#!/usr/bin/env bash
# PyTorch's distributions: no event is less likely than one in eight million, and in bfloat16 than one in 128.
#
# `Categorical(probs=...)` and `Bernoulli(probs=...)` raise probabilities to the epsilon of their type before the logarithm is taken: below 1.2e-7
# every log-probability is -15.94 in single precision, that of an impossible event included, and below 0.0078 it is -4.84 in bfloat16. The
# mean of -log p, an importance weight or bits per pixel stops there, while `sample` still draws by the probabilities given; the same law given by
# `logits` is right, and numpyro 0.22.0 has the right number for both. A thousand equal events have 4.84 nats each in bfloat16, not 6.91. Nothing is
# said. Seen with torch 2.15.0, jax 0.10.2, Python 3.11.
#
# For us: log-probabilities come from energies by log-sum-exp, never from probabilities.
source "$(dirname "$0")/lib.sh"
packages python3 torch==2.15.0 numpyro==0.22.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
python - <<'P'
import jax.numpy as jnp
import numpyro.distributions as numpyro
import torch
from torch.distributions import Bernoulli, Categorical

one = torch.tensor(1)


def rare(p, dtype):
    """The log-probability of the second event, by probabilities and by logits."""
    probs = torch.tensor([1 - p, p], dtype=torch.float64)
    by_probs = Categorical(probs=probs.to(dtype)).log_prob(one)
    by_logits = Categorical(logits=probs.log().to(dtype)).log_prob(one)
    return round(by_probs.item(), 2), round(by_logits.item(), 2)


single = {p: rare(p, torch.float32) for p in (1e-5, 1e-8, 1e-20, 0.0)}
half = {p: rare(p, torch.bfloat16) for p in (0.05, 0.001, 1e-5)}
peer = round(float(numpyro.Categorical(probs=jnp.array([1.0, 1e-20])).log_prob(1)), 2)
flip = round(Bernoulli(probs=torch.tensor(1e-20)).log_prob(torch.tensor(1.0)).item(), 2)
print("probability: logarithm by probs and by logits")
print("float32:", single)
print("bfloat16:", half)
print(f"1e-20: Bernoulli {flip}, numpyro {peer}")
assert [single[p][0] for p in (1e-5, 1e-8, 1e-20, 0.0)] == [-11.51, -15.94, -15.94, -15.94], "this has changed"
assert [half[p][0] for p in (0.001, 1e-5)] == [-4.84, -4.84] and abs(half[0.001][1] + 6.9) < 0.05, "this has changed"
assert flip == -15.94 and peer == single[1e-20][1] == -46.05, "this has changed"

# A thousand equally likely events in bfloat16: 6.91 nats each.
law = Categorical(probs=torch.full((1000,), 0.001, dtype=torch.bfloat16))
torch.manual_seed(0)
draws = law.sample((10_000,))
nats, entropy = -law.log_prob(draws).double().mean().item(), law.entropy().item()
print(f"of 1,000 equal events, {draws.unique().numel()} of which were drawn: {nats:.2f} nats a draw, entropy {entropy:.2f}")
assert draws.unique().numel() > 950 and round(nats, 2) == 4.84 and entropy < 5, "this has changed"
P

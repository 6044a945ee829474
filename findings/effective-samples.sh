#!/usr/bin/env bash
# Effective sample sizes of the same chains: minus ten thousand in one library, none or all draws in others.
#
# Chains that alternate (autocorrelation -0.95, as HMC has with trajectories of half a period): numpyro 0.22.0 says -10,532
# effective draws of 1,600; blackjax 1.7.1 and ArviZ 0.23.4 stop at n log10 n, 5,127. Chains that never move: numpyro NaN,
# blackjax 0, ArviZ as many as there are draws. A loop that waits for "enough" ends at once in one library and never in
# another. Seen with jax 0.10.2, numpy 2.4.6, Python 3.11.
#
# For us: capped as ArviZ has it, and chains that do not move have no number (`measure.md`).
source "$(dirname "$0")/lib.sh"
packages python3 numpyro==0.22.0 blackjax==1.7.1 jax==0.10.2 jaxlib==0.10.2 arviz==0.23.4 numpy==2.4.6
python - <<'P'
import logging
import warnings

warnings.simplefilter("ignore")
logging.disable()
import arviz
import blackjax
import jax.numpy as jnp
import numpy as np
from numpyro.diagnostics import effective_sample_size

random = np.random.default_rng(0)
moving = np.zeros((4, 400))
moving[:, 0] = random.normal(size=4)
for t in range(1, 400):
    moving[:, t] = -0.95 * moving[:, t - 1] + np.sqrt(1 - 0.95**2) * random.normal(size=4)
still = np.ones((4, 100))


def all_of(x):
    bj = blackjax.diagnostics.effective_sample_size(jnp.asarray(x))
    return float(effective_sample_size(x)), float(bj), float(arviz.ess(x, method="mean"))


alternating, constant = all_of(moving), all_of(still)
print("alternating, 1600 draws: numpyro %.0f, blackjax %.0f, ArviZ %.0f" % alternating)
print("constant, 400 draws: numpyro %s, blackjax %s, ArviZ %s" % constant)
assert alternating[0] < -1000 and alternating[1] > 3 * 1600 and alternating[2] > 1600, "this has changed"
assert np.isnan(constant[0]) and constant[1:] == (0.0, 400.0), "this has changed"
P

#!/usr/bin/env bash
# ArviZ 1 measures tails at other quantiles than before, and from a bare array it measures none.
#
# `ess(..., method="tail")` of ArviZ 1.3.0 looks at the ends of its interval of 89 %, 11 and 89 in a hundred, where 0.23 and the
# paper (Vehtari et al. 2021) have 5 and 95: 747 in place of 741 effective draws for the chains here, and the summary's
# column changes with `stats.ci_prob`. Given an array (not data with names) the same call is a TypeError for a missing
# argument `prob`. R-hat of one chain is NaN where 0.23 halves the chain. Needs Python 3.12 or newer (PYTHON=...).
#
# For us: tails are at 5 and 95 in a hundred and the table says so; one chain is halved.
source "$(dirname "$0")/lib.sh"
packages "${PYTHON:-python3.12}" arviz==1.3.0 numpy==2.5.5
python - <<'P'
import warnings

warnings.simplefilter("ignore")
import arviz
import numpy as np

x = np.random.default_rng(1).normal(size=(4, 200))
named = arviz.from_dict({"posterior": {"energy": x}})
try:
    bare = arviz.ess(x, method="tail")
except TypeError as e:
    bare = type(e).__name__
found = {
    "default": round(arviz.ess(named, method="tail")["energy"].item()),
    "at 11 and 89": round(float(arviz.ess(x, method="tail", prob=(0.11, 0.89)))),
    "at 5 and 95": round(float(arviz.ess(x, method="tail", prob=(0.05, 0.95)))),
    "of an array": bare,
    "R-hat of one chain": str(arviz.rhat(x[:1])),
}
print(found)
assert list(found.values()) == [747, 747, 741, "TypeError", "nan"], "this has changed"
P

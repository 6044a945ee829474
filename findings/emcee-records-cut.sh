#!/usr/bin/env bash
# emcee: values that a chain records beside its energy lose their fractions whenever the first walker returns a whole number.
#
# emcee 3.1.6: what the log-probability returns beside itself ("blobs") becomes an array of the type that the first proposal of each half of the
# walkers has. A function that returns an energy above a threshold and 0 below it is cut to whole numbers for all walkers of the half in each step in
# which that first one lies below: 0.73 is 0, 1.9 is 1, half of all records here. If the first walker starts below, the store holds whole
# numbers and the rest of the run is cut, too. No warning; chain and log-probabilities are right. `blobs_dtype=float`, or 0.0 in place
# of 0, helps. Seen with numpy 2.4.6, Python 3.11.
#
# For us: a column of an observer has one type for the run, and measures of chains are doubles.
source "$(dirname "$0")/lib.sh"
packages python3 emcee==3.1.6 numpy==2.4.6
python -W error - <<'P'
import emcee
import numpy as np


def log_probability(x):
    energy = 0.5 * float(x @ x)
    return -energy, energy if energy > 0.5 else 0


def recorded(first, **more):
    """The records of 16 walkers of which the first starts at `first`, and what they should be."""
    np.random.seed(0)
    start = np.linspace(-2, 2, 16)[:, None]
    start[0] = first
    sampler = emcee.EnsembleSampler(16, 1, log_probability, **more)
    sampler.run_mcmc(start, 1000)
    energy = -sampler.get_log_prob()
    return sampler.get_blobs(), np.where(energy > 0.5, energy, 0)


cut = {}
for name, (found, right) in {
    "first walker above": recorded(2.2),
    "first walker below": recorded(0.1),
    "blobs_dtype=float": recorded(0.1, blobs_dtype=float),
}.items():
    cut[name] = float((np.abs(found - right)[right > 0] > 1e-9).mean())
    print(f"{name}: {found.dtype}, cut {cut[name]:.3f} of them, mean {found.mean():.3f} in place of {right.mean():.3f}")
assert 0.1 < cut["first walker above"] < 0.9 and cut["first walker below"] == 1.0, "this has changed"
assert cut["blobs_dtype=float"] == 0, "this has changed"
P

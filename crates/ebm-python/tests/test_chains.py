"""Samplers on energies of Python and of the framework, and what their draws are worth."""

import numpy as np
import pytest

import ebm_candle as ebm

MALA = {"kind": "mala", "step_size": 0.5}


def test_chains_on_a_function_have_its_law(bowl):
    chains = ebm.sample(bowl, np.zeros((8, 2)), MALA, draws=1000, burn_in=200, seed=1)
    assert chains.x.shape == (8, 1000, 2) and chains.x.dtype == np.float64
    assert chains.stats["energy"].shape == chains.stats["accepted"].shape == (8, 1000)
    np.testing.assert_allclose(chains.stats["energy"], 0.5 * (chains.x**2).sum(2), rtol=1e-9)
    assert chains.ess.shape == chains.rhat.shape == (2,) and (chains.rhat < 1.05).all()
    # The mean of the squares is 1 within five of its standard errors, sqrt(2 / ess).
    squares = ebm.summarise(chains.x**2)
    assert (np.abs(squares["mean"] - 1) < 5 * np.sqrt(2 / squares["ess_bulk"])).all()
    again = ebm.sample(bowl, np.zeros((8, 2)), MALA, draws=1000, burn_in=200, seed=1)
    np.testing.assert_array_equal(chains.x, again.x)


def test_a_function_and_a_kind_make_the_same_chains(bowl):
    kind = ebm.energy({"kind": "gaussian", "sd": 1.0}, shape=(2,), changes={"run.dtype": "f64"})
    a, b = (ebm.sample(e, np.ones((2, 2)), MALA, draws=20, seed=2).x for e in (bowl, kind))
    # The same numbers but for rounding: both energies differ by a constant at most.
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_thinning_and_burn_in_keep_what_they_say(bowl):
    every = ebm.sample(bowl, np.zeros((2, 2)), {"kind": "ula", "step_size": 0.1}, draws=12)
    some = ebm.sample(bowl, np.zeros((2, 2)), {"kind": "ula", "step_size": 0.1}, draws=4, burn_in=4, thinning=2)
    np.testing.assert_array_equal(some.x, every.x[:, 5::2])


def test_wrong_samplers_and_starts_are_refused(bowl):
    start = np.zeros((2, 2))
    with pytest.raises(ebm.EbmError, match="sampler.transition.step_size: found the number -1.0"):
        ebm.sample(bowl, start, {"kind": "mala", "step_size": -1.0}, draws=3)
    with pytest.raises(ebm.EbmError, match="mola"):
        ebm.sample(bowl, start, {"kind": "mola"}, draws=3)
    with pytest.raises(ebm.EbmError, match=r"found shape \[2, 3\], expected \(B, 2\)"):
        ebm.sample(bowl, np.zeros((2, 3)), MALA, draws=3)
    # Its states on the way are of other temperatures, and no draws.
    program = {"kind": "chain", "steps": 2, "transition": {"kind": "ula", "step_size": 0.1}}
    smc = {"kind": "sequential-monte-carlo", "hottest": 30.0, "rungs": 3, "program": program}
    with pytest.raises(ebm.EbmError, match="passes through other temperatures"):
        ebm.sample(bowl, start, smc, draws=3)
    with pytest.raises(ebm.EbmError, match="draws: is 0, wanted a whole number at least 1"):
        ebm.sample(bowl, start, MALA, draws=0)


def test_ess_and_rhat_see_chains_that_do_not_agree():
    rng = np.random.default_rng(0)
    good = rng.normal(size=(4, 500))
    # Independent draws are worth about as many as they are: 2000, give or take a fifth.
    assert 1600 < ebm.ess(good) < 2600 and ebm.rhat(good) < 1.01
    assert ebm.rhat(good + np.arange(4)[:, None]) > 1.5
    with pytest.raises(ebm.EbmError, match="wanted"):
        ebm.ess(np.zeros(5))

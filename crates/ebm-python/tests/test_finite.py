"""Numbers that are not finite: refused where chains start and where they end, never handed on in silence."""

import warnings

import numpy as np
import pytest

import ebm_candle as ebm

NUTS = {"kind": "nuts"}
MALA = {"kind": "mala", "step_size": 0.1}


@pytest.fixture
def gaussian():
    """In float32."""
    return ebm.energy({"kind": "gaussian"}, shape=(2,))


@pytest.fixture(autouse=True)
def strict():
    """The package warns of no function but where a test says so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the energy's function")
        yield


def test_starts_are_finite_in_the_precision_of_the_energy(gaussian, bowl):
    start = np.zeros((3, 2))
    for value, shown in [(np.nan, "NaN"), (np.inf, "inf"), (-np.inf, "-inf"), (1e308, "1e308 in row 1, which is beyond float32")]:
        start[1, 1] = value
        with pytest.raises(ebm.EbmError, match=f"start: holds {shown}.* expected finite numbers") as e:
            ebm.sample(gaussian, start, NUTS, draws=20)
        assert "row 1" in str(e.value)
    # An energy in f64 has a number for it, though not for its energy.
    with pytest.raises(ebm.EbmError, match="chain 1 at step 1: the energy of draw 0 is inf"):
        ebm.sample(bowl, start, MALA, draws=3)
    start[1, 1] = np.nan
    with pytest.raises(ebm.EbmError, match="start: holds NaN in row 1"):
        ebm.sample(bowl, start.astype(np.float32), MALA, draws=3)


def test_starts_are_states_of_discrete_samples():
    e = ebm.energy({"kind": "ising", "coupling": 0.2}, shape=(1, 4, 4))
    with pytest.raises(ebm.EbmError, match="start: has 16 values that are not of this energy's samples"):
        ebm.sample(e, np.full((1, 1, 4, 4), 0.5), {"kind": "gibbs"}, draws=2)
    assert ebm.sample(e, np.ones((1, 1, 4, 4)), {"kind": "gibbs"}, draws=2).x.shape == (1, 2, 1, 4, 4)


def test_chains_that_leave_the_finite_numbers_are_named(gaussian):
    # A step of ula at a rate of 100 multiplies the state by 99: it is beyond float32 within 21 steps and its square within 11.
    start = np.array([[0.0, 0.0], [1.0, 1.0]])
    with pytest.raises(ebm.EbmError, match=r"chain \d at step \d+: .* of draw \d+ is (NaN|inf|-inf); use a smaller step size"):
        ebm.sample(gaussian, start, {"kind": "ula", "step_size": 100.0}, draws=60)


def test_functions_that_return_no_energies_are_named():
    nan = ebm.from_function(lambda x: (np.full(len(x), np.nan), x), (2,))
    with pytest.raises(ebm.EbmError, match="chain 0 at step 11: the energy of draw 0 is NaN"):
        ebm.sample(nan, np.zeros((3, 2)), NUTS, draws=20, burn_in=10)
    slope = ebm.from_function(lambda x: ((x**2).sum(1), x * np.nan), (2,))
    with pytest.raises(ebm.EbmError, match="chain 0 at step 11: a coordinate of draw 0 is NaN"):
        ebm.sample(slope, np.zeros((3, 2)), {"kind": "langevin", "step_size": 0.1}, draws=20, burn_in=10)


def test_functions_that_stop_chains_are_warned_of():
    slope = ebm.from_function(lambda x: (0.5 * (x**2).sum(1), x * np.nan), (2,))
    with pytest.warns(RuntimeWarning, match="a gradient that is not finite for [1-9]"):
        ebm.sample(slope, np.ones((3, 2)), MALA, draws=20, burn_in=10)

    def half(x):
        energies = 0.5 * (x**2).sum(1)
        energies[x[:, 0] > 0.5] = np.nan
        return energies, x

    own = ebm.from_function(half, (2,))
    with pytest.warns(RuntimeWarning, match=r"NaN or -inf as the energy of [1-9]\d* and .* first the energy NaN at \[") as told:
        ebm.sample(own, np.zeros((3, 2)), {"kind": "mala", "step_size": 0.5}, draws=50, seed=1)
    assert len(told) == 1 and told[0].filename == __file__
    # What it returned to one call is not told at the next.
    own.slope(np.full((4, 2), 3.0))
    assert ebm.sample(own, np.full((1, 2), -90.0), {"kind": "mala", "step_size": 1e-6}, draws=3).x.shape == (1, 3, 2)


def test_walls_are_no_faults():
    def box(x):
        outside = (np.abs(x) > 1).any(1)
        return np.where(outside, np.inf, 0.5 * (x**2).sum(1)), np.where(outside[:, None], np.nan, x)

    found = ebm.sample(ebm.from_function(box, (2,)), np.zeros((4, 2)), {"kind": "mala", "step_size": 0.5}, draws=50, seed=1)
    assert np.abs(found.x).max() <= 1 and found.stats["accepted"].mean() < 0.95


def test_functions_of_torch_are_held_to_the_same():
    torch = pytest.importorskip("torch")
    with pytest.raises(ebm.EbmError, match="the energy of draw 0 is NaN"):
        ebm.sample(ebm.from_torch(lambda x: (x**2).sum(1) * torch.nan, (2,)), np.zeros((3, 2)), MALA, draws=20)
    # The slope of the root at 0 is infinite times 0.
    root = ebm.from_torch(lambda x: (x**2).sum(1).sqrt(), (2,))
    with pytest.warns(RuntimeWarning, match="a gradient that is not finite"):
        ebm.sample(root, np.zeros((3, 2)), MALA, draws=5)


def test_functions_of_torch_that_have_no_gradient_are_refused():
    torch = pytest.importorskip("torch")
    free = torch.zeros(1, requires_grad=True)
    for function, words in [
        (lambda x: (x.detach() ** 2).sum(1), "have no gradient"),
        (lambda x: torch.zeros(len(x)), "have no gradient"),
        (lambda x: free.expand(len(x)), "have no gradient"),
        (lambda x: (x.detach().numpy() ** 2).sum(1), "wanted a tensor of PyTorch"),
        (lambda x: None, "wanted a tensor of PyTorch"),
        (lambda x: (x + 1j).sum(1), "wanted a tensor of PyTorch"),
        (lambda x: (x**2).sum(), r"found shape \[\]"),
        (lambda x: x**2, r"found shape \[3, 2\]"),
    ]:
        with pytest.raises(ebm.EbmError, match=words):
            ebm.from_torch(function, (2,)).slope(np.zeros((3, 2)))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        ebm.from_torch(lambda x: x @ torch.zeros(9, 9), (2,)).slope(np.zeros((3, 2)))


def test_measures_and_scores_refuse_what_is_not_finite(model, x, bowl):
    nan = np.full((40, 2), np.nan)
    good = np.random.default_rng(0).normal(size=(40, 2))
    for call in [
        lambda: ebm.frechet(nan, good),
        lambda: ebm.mmd(good, nan),
        lambda: ebm.mmd(good, nan, bandwidth=1.0),
        lambda: ebm.detection(nan[:, 0], good[:, 0]),
        lambda: ebm.log_z(nan[:, 0]),
        lambda: ebm.log_z(good[:, 0], reverse=nan[:, 0]),
        lambda: ebm.rhat(nan.reshape(4, 10, 2)),
        lambda: ebm.quadrature(bowl, places=nan),
        lambda: ebm.quadrature(ebm.from_function(lambda x: (np.full(len(x), np.nan), x), (2,))),
        lambda: ebm.picture(nan),
        lambda: ebm.picture(good, background=nan),
    ]:
        with pytest.raises(ebm.EbmError, match="(?i)finite|nan"):
            call()
    for value, shown in [(np.nan, "NaN"), (1e308, "1e308")]:
        samples = x.astype(np.float64)
        samples[4, 0, 1, 1] = value
        with pytest.raises(ebm.EbmError, match=f"x: holds {shown} in row 4"):
            model.score(samples)

"""Measures of arrays against answers that are known in closed form."""

import numpy as np
import pytest

import ebm_candle as ebm

RNG = np.random.default_rng(0)


def test_frechet_of_a_shift_is_its_square():
    a = RNG.normal(size=(300, 3))
    # Two sets with one covariance: only the means differ.
    assert ebm.frechet(a, a + [1.0, 2.0, 0.0]) == pytest.approx(5.0, rel=1e-6)
    assert ebm.frechet(a, a) == pytest.approx(0.0, abs=1e-6)
    images = RNG.random((40, 1, 2, 2)).astype(np.float32)
    assert ebm.frechet(images, images) == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ebm.EbmError, match=r"a: found shape \[300\]"):
        ebm.frechet(a[:, 0], a)


def test_mmd_agrees_with_its_definition():
    a, b = RNG.normal(size=(20, 2)), RNG.normal(size=(30, 2)) + 1

    def kernel(x, y):
        return np.exp(-((x[:, None] - y[None]) ** 2).sum(2) / (2 * 0.7**2))

    def within(x):
        k = kernel(x, x)
        return (k.sum() - np.trace(k)) / (len(x) * (len(x) - 1))

    found = ebm.mmd(a, b, bandwidth=0.7)
    assert found.mmd2 == pytest.approx(within(a) + within(b) - 2 * kernel(a, b).mean(), rel=1e-10)
    usual = ebm.mmd(a, b)
    distances = np.sqrt(((a[:, None] - a[None]) ** 2).sum(2))[np.triu_indices(20, 1)]
    assert usual.bandwidth == pytest.approx(np.median(distances)) and usual.se > 0


def test_detection_counts_pairs():
    found = ebm.detection(np.array([-0.1, -0.4, -0.2, -0.3]), np.array([-0.9, -0.35, -1.2]))
    assert found.auroc == pytest.approx(11 / 12)
    with pytest.raises(ebm.EbmError, match="positives"):
        ebm.detection(np.array([]), np.array([1.0]))


def test_log_z_of_normal_weights():
    # The mean of exp(w) with w normal(0, 0.1²) is exp(0.005).
    w = RNG.normal(size=4000) * 0.1
    found = ebm.log_z(w, start=2.0)
    assert found.log_z == pytest.approx(np.log(np.exp(w).mean()) + 2, rel=1e-12)
    assert found.interval[0] < 2.005 < found.interval[1] and found.bounds is None
    # The way back has the weights of the inverse, under the law of the end: w - 0.01 here, so both say 2.005.
    both = ebm.log_z(w, start=2.0, reverse=-(w + 0.01))
    assert both.bounds[0] < 2.005 < both.bounds[1] and not both.contradictory
    assert ebm.log_z(w, start=2.0, reverse=-(w + 5)).contradictory


def test_quadrature_of_a_normal_density(bowl):
    found = ebm.quadrature(bowl)
    # Within the tolerance that it is asked for, a share of 1e-3.
    assert found.log_z == pytest.approx(np.log(2 * np.pi), abs=1e-3) and found.points > 100
    assert isinstance(found.centre, tuple) and isinstance(found.half, tuple)
    assert ebm.quadrature(bowl, temperature=4.0).log_z == pytest.approx(np.log(8 * np.pi), abs=1e-3)
    flat = ebm.from_function(lambda x: (np.zeros(len(x)), np.zeros_like(x)), (2,))
    with pytest.raises(ebm.EbmError, match="cannot be normalised"):
        ebm.quadrature(flat)

    def broken(x):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        ebm.quadrature(ebm.from_function(broken, (2,)))

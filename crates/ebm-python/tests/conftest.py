"""What tests of several files use: a run of a few steps, and a bowl whose answers are known."""

import numpy as np
import pytest

import ebm_candle as ebm

SHORT = {"run.steps": 12, "generate.steps": 5, "generate.count": 4, "observer": [], "policy": []}


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The quick start after twelve steps."""
    return ebm.train(changes=SHORT, out=tmp_path_factory.mktemp("runs") / "short", bare=True)


@pytest.fixture(scope="session")
def model(run):
    return run.load()


@pytest.fixture
def x():
    return np.random.default_rng(0).random((6, 1, 8, 8), dtype=np.float32)


@pytest.fixture
def bowl():
    """E(x) = |x|²/2 as a Python function."""
    return ebm.from_function(lambda x: (0.5 * (x**2).sum(1), x), (2,))

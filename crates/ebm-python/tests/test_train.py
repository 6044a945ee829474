"""Training from arrays, progress, exceptions and Ctrl-C, and going on."""

import filecmp
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import ebm_candle as ebm

PLANE = {
    "format": 1,
    "run": {"name": "plane", "steps": 30, "batch": 32, "seed": 1},
    "energy": {"kind": "mlp", "hidden": [16], "activation": "swish"},
    "sampler": {"kind": "chain", "steps": 3, "transition": {"kind": "langevin", "step_size": 0.1, "noise": 0.1}},
    "objective": {"kind": "contrastive"},
    "optimiser": {"kind": "adam", "rate": 1e-3},
    "chains": {"from": "data"},
}


def points(n=200):
    return np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)


def test_arrays_are_trained_on_and_found_again(tmp_path):
    run = ebm.train(PLANE, data=points(), out=tmp_path / "a", bare=True)
    assert (run.step, run.outcome, run.ok) == (30, "done", True)
    assert "energy.data" in run.values
    assert run.load().energy(points(3)).shape == (3,)
    written = list(tmp_path.glob("data-*.npy"))
    assert len(written) == 1 and np.array_equal(np.load(written[0]), points())
    # The same samples are not written twice, and a run goes on where it lies.
    ebm.train(PLANE, data=points(), out=tmp_path / "b", bare=True)
    assert list(tmp_path.glob("data-*.npy")) == written
    assert ebm.resume(tmp_path / "a", changes={"run.steps": 40}, bare=True).step == 40


def test_bytes_are_the_images_that_they_were_in_training(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    config = {**PLANE, "energy": {"kind": "mlp", "hidden": [8]}}
    model = ebm.train(config, data=images, out=tmp_path / "a", bare=True).load()
    middles = ((images + 0.5) / 256).astype(np.float32)
    np.testing.assert_array_equal(model.energy(images), model.energy(middles))
    np.testing.assert_array_equal(model.score(images).energy, model.score(middles).energy)
    np.testing.assert_array_equal(model.slope(images)[1], model.slope(middles)[1])
    draws = [ebm.sample(model, x[:3], {"kind": "mala", "step_size": 0.01}, draws=2).x for x in (images, middles)]
    np.testing.assert_array_equal(*draws)
    # Of an energy without data they are the numbers that they are.
    plain = ebm.energy({"kind": "gaussian"}, shape=(2,))
    np.testing.assert_allclose(plain.energy(np.array([[3, 4]], dtype=np.uint8)), [12.5])


def test_classes_are_conditions(tmp_path):
    labels = (points()[:, 0] > 0).astype(int)
    config = {**PLANE, "energy": {**PLANE["energy"], "conditional": True}}
    model = ebm.train(config, data=points(), labels=labels, out=tmp_path / "a", bare=True).load()
    assert model.condition_length == 2
    x = points(4)
    mixed = model.energy(x, condition=np.array([0, 1, 0, 1]))
    np.testing.assert_allclose(mixed[::2], model.energy(x[::2], condition=0), rtol=1e-6)
    np.testing.assert_allclose(mixed[1::2], model.energy(x[1::2], condition=[0.0, 1.0]), rtol=1e-6)
    # The score has no condition: -log of the sum over the classes.
    both = np.stack([model.energy(x, condition=c) for c in (0, 1)])
    np.testing.assert_allclose(model.score(x).energy, -np.log(np.exp(-both.astype(float)).sum(0)), rtol=1e-5)
    assert model.sample(3, 2, condition=1).shape == (3, 2)
    with pytest.raises(ebm.EbmError, match="condition: is 2, but wanted a class from 0 to 1"):
        model.sample(3, 2, condition=2)
    with pytest.raises(ebm.EbmError, match="condition of length 2"):
        model.energy(x)


def test_progress_is_told_and_its_exception_stops_the_run(tmp_path):
    told = []
    ebm.train(PLANE, data=points(), out=tmp_path / "a", bare=True, progress=told.append, every=0)
    assert [t["step"] for t in told] == list(range(1, 31)) and told[0]["of"] == 30
    assert "energy.data" in told[0]["values"]

    def enough(report):
        if report["step"] == 5:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        ebm.train(PLANE, data=points(), out=tmp_path / "b", changes={"run.steps": 100_000}, progress=enough, every=0)
    stopped = ebm.load(tmp_path / "b").step
    assert 5 <= stopped < 100_000
    assert ebm.resume(tmp_path / "b", changes={"run.steps": stopped + 1}, bare=True).step == stopped + 1


def test_ctrl_c_saves_the_run_and_it_goes_on_to_the_same_bytes(tmp_path):
    program = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import ebm_candle as ebm
        from test_train import PLANE, points
        def told(report):
            if report["step"] == 7:
                os.kill(os.getpid(), signal.SIGINT)
        try:
            ebm.train(PLANE, data=points(), out="a", changes={{"run.steps": 20_000}}, progress=told, every=0)
        except KeyboardInterrupt as e:
            print("interrupted:", e)
            sys.exit(3)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 3, ended.stderr
    assert "resume() goes on" in ended.stdout
    stopped = ebm.load(tmp_path / "a").step
    assert 7 <= stopped < 20_000
    steps = {"run.steps": stopped + 10}
    ebm.resume(tmp_path / "a", changes=steps, bare=True)
    ebm.train(PLANE, data=points(), out=tmp_path / "b", changes=steps, bare=True)
    a, b = ebm.load(tmp_path / "a"), ebm.load(tmp_path / "b")
    np.testing.assert_array_equal(a.energy(points(50)), b.energy(points(50)))
    weights = [next(Path(m.checkpoint).glob("*.safetensors")) for m in (a, b)]
    assert filecmp.cmp(*weights, shallow=False)


def test_ctrl_c_ends_sampling(tmp_path):
    program = """
        import os, signal, threading, time
        import numpy as np
        import ebm_candle as ebm
        started = threading.Event()
        def slow(x):
            started.set()
            return 0.5 * (x**2).sum(1), x
        def interrupt():
            started.wait()
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt, daemon=True).start()
        try:
            ebm.sample(ebm.from_function(slow, (2,)), np.zeros((2, 2)), {"kind": "mala", "step_size": 0.1}, draws=5_000_000)
        except KeyboardInterrupt:
            print("interrupted")
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert ended.stdout.strip() == "interrupted", ended.stderr


def test_what_cannot_be_trained_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(ebm.EbmError, match="optimiser.rate: found the number -1.0, wanted a number > 0"):
        ebm.train({**PLANE, "optimiser": {"kind": "adam", "rate": -1.0}}, data=points(), out=tmp_path / "a")
    assert not (tmp_path / "a").exists()
    ebm.train(PLANE, data=points(), out=tmp_path / "b", bare=True)
    with pytest.raises(ebm.EbmError, match="already"):
        ebm.train(PLANE, data=points(), out=tmp_path / "b")
    with pytest.raises(ebm.EbmError, match="labels"):
        ebm.train(PLANE, data=points(), labels=np.zeros(3, dtype=int), out=tmp_path / "c")
    with pytest.raises(ebm.EbmError, match="every: is -1"):
        ebm.train(PLANE, data=points(), out=tmp_path / "c", every=-1.0)
    bad = points()
    bad[3, 1] = np.nan
    with pytest.raises(ebm.EbmError, match="(?i)nan|finite"):
        ebm.train(PLANE, data=bad, out=tmp_path / "c")

"""Models: opened, sampled, scored, shown."""

import numpy as np
import pytest

import ebm_candle as ebm


def test_samples_are_a_function_of_their_arguments(model):
    a = model.sample(5, 8, seed=3)
    assert a.shape == (5, 1, 8, 8) and a.dtype == np.float32 and a.min() >= 0 and a.max() <= 1
    np.testing.assert_array_equal(a, model.sample(5, 8, seed=3))
    assert not np.array_equal(a, model.sample(5, 8, seed=4))


def test_samples_are_refused_in_words(model):
    with pytest.raises(ebm.EbmError, match="must be at least 1"):
        model.sample(0)
    with pytest.raises(ebm.EbmError, match="fewer samples at a time"):
        model.sample(1 << 40)
    with pytest.raises(ebm.EbmError, match="n: is -1"):
        model.sample(-1)


def test_scores_are_energies(model, x):
    found = model.score(x)
    np.testing.assert_allclose(found.energy, model.energy(x), rtol=1e-6)
    assert found.inside is None
    np.testing.assert_allclose(sum(found.terms.values()), found.energy)
    with pytest.raises(ebm.EbmError, match="threshold"):
        model.score(x, threshold=True)
    with pytest.raises(ebm.EbmError, match=r"x: found shape \[2\], expected \[1, 8, 8\]"):
        model.score(np.zeros((3, 2)))


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(ebm.EbmError, match="config.toml"):
        ebm.load(tmp_path)
    with pytest.raises(ebm.EbmError, match="absent"):
        ebm.load(tmp_path / "absent")


def test_a_run_is_opened_with_changes_and_composed(run, x):
    model = ebm.load(run.directory, changes={"generate.steps": 3})
    twice = ebm.load(f"{run.directory} and {run.directory}")
    np.testing.assert_allclose(twice.energy(x), 2 * model.energy(x), rtol=1e-5)
    with pytest.raises(ebm.EbmError, match="generate.stepz"):
        ebm.load(run.directory, changes={"generate.stepz": 3})


def test_pictures_are_png(model, tmp_path):
    shown = ebm.picture(model.sample(4, 2), columns=2)
    assert shown._repr_png_().startswith(b"\x89PNG")
    shown.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == shown.png
    assert ebm.picture(np.random.default_rng(0).normal(size=(9, 2))).png.startswith(b"\x89PNG")
    with pytest.raises(ebm.EbmError, match=r"\[3, 5\]"):
        ebm.picture(np.zeros((3, 5)))


def test_samples_of_a_table_go_to_its_units_and_back(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 2)) * [3.0, 0.01] + [50.0, -2.0]
    lines = [f"{a!r},{i % 24},{b!r}" for i, (a, b) in enumerate(rows.tolist())]
    (tmp_path / "t.csv").write_text("\n".join(["a,hour,b", *lines]) + "\n")
    data = {"kind": "table", "path": str(tmp_path / "t.csv"), "angles": [{"column": "hour", "period": 24.0}]}
    config = {
        "format": 1,
        "run": {"name": "t", "steps": 2, "batch": 8},
        "data": data,
        "energy": {"kind": "mlp", "hidden": [4]},
        "objective": {"kind": "denoising-score-matching", "sigma": 0.1},
        "optimiser": {"kind": "adam", "rate": 1e-3},
    }
    model = ebm.train(config, out=tmp_path / "run").load()
    assert model.columns == ["a", "hour", "b"]
    own = np.column_stack([rows[:, 0], np.arange(40) % 24, rows[:, 1]])
    x = model.standardised(own)
    # Deviations over all rows, as they all are training rows.
    wanted = (rows - rows.mean(0)) / rows.std(0)
    np.testing.assert_allclose(x[:, [0, 2]], wanted, atol=1e-9)
    turn = own[:, 1] / 24 * 2 * np.pi
    np.testing.assert_allclose(np.exp(1j * x[:, 1]), np.exp(1j * turn), atol=1e-12)
    np.testing.assert_allclose(model.in_units(x), own, atol=1e-9)
    with pytest.raises(ebm.EbmError, match=r"x: found shape \[2\], expected \[3\]"):
        model.standardised(rows)

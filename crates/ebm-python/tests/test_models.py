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

"""What is refused: every argument of every call that does not fit, by an EbmError, before anything is computed or written."""

import itertools

import numpy as np
import pytest

import ebm_candle as ebm

MALA = {"kind": "mala", "step_size": 0.1}
RNG = np.random.default_rng(0)
SET = RNG.normal(size=(40, 2))


class Odd:
    """Something that no argument is, and that cannot even show itself."""

    def __repr__(self):
        raise RuntimeError("not shown")


#: No whole numbers, or none that a count or a seed is.
NO_COUNTS = [2.5, 2.0, -1, 2**64, 10**5000, True, np.True_, "3", b"3", None, [3], np.array([3]), float("nan"), 1j, Odd()]
NO_NUMBERS = ["1", b"1", True, float("nan"), float("inf"), 10**400, 1j, [1.0], np.array([1.0]), {}, Odd()]
NO_SHAPES = [2, 2.0, "ab", b"ab", (2.5,), (2.0,), (-1,), (0,), (2**40,), (True,), ("2",), ((2,),), {2: 2}, Odd()]
NO_SHAPES += [itertools.count(1)]
NO_TEXTS = [5, 5.0, b"a", ["a"], {"a": 1}, "\ud800", Odd()]
NO_PATHS = [5, 5.0, ["a"], {"a": 1}, "a\0b", "\ud800", Odd()]
NO_FLAGS = [1, 0, "yes", 0.0, [], Odd()]
NO_CHANGES = [5, [5], [None], b"run.steps=5", {"run.steps": Odd()}, {"run.steps": float("nan")}, ["\ud800"]]
NO_CHANGES += [{"run.name": "\ud800"}, itertools.count(), "a" + ".b" * 100_000 + "=1"]
NO_ENERGIES = [None, {"kind": "gaussian"}, 5, Odd()]


def refused(value, call):
    with pytest.raises(ebm.EbmError) as e:
        call(value)
    assert "fault of this library" not in str(e.value)
    return str(e.value)


def own_loop():
    inner = {"kind": "gaussian"}
    inner["a"] = inner
    return inner


def own_list():
    inner = []
    inner.append(inner)
    return {"kind": "gaussian", "mean": inner}


def deep(levels):
    inner = {"kind": "gaussian"}
    for _ in range(levels):
        inner = {"kind": "temperature", "temperature": 1.0, "energy": inner}
    return inner


def wide(levels):
    """Small in memory, 2^levels values when written out."""
    inner = {"kind": "gaussian"}
    for _ in range(levels):
        inner = {"a": inner, "b": inner}
    return inner


@pytest.mark.parametrize("name", ["draws", "burn_in", "thinning"])
@pytest.mark.parametrize("value", NO_COUNTS, ids=lambda v: type(v).__name__)
def test_counts_of_chains_are_whole_numbers(bowl, name, value):
    text = refused(value, lambda v: ebm.sample(bowl, np.zeros((2, 2)), MALA, **{"draws": 3, name: v}))
    assert text.startswith(f"{name}: is ") and "wanted a whole number" in text


@pytest.mark.parametrize("value", NO_COUNTS, ids=lambda v: type(v).__name__)
def test_seeds_have_64_bits(bowl, model, value):
    text = refused(value, lambda v: ebm.sample(bowl, np.zeros((2, 2)), MALA, draws=2, seed=v))
    assert text.startswith("seed: is ") and "from 0 to 18446744073709551615" in text
    if value is not None:
        assert refused(value, lambda v: model.sample(1, 2, seed=v)).startswith("seed: is ")


def test_whole_numbers_of_all_kinds_are_taken(bowl):
    def drawn(draws, seed):
        return ebm.sample(bowl, np.zeros((2, 2)), MALA, draws=draws, seed=seed).x

    expected = drawn(3, 7)
    np.testing.assert_array_equal(drawn(np.int8(3), np.uint64(7)), expected)
    np.testing.assert_array_equal(drawn(np.array(3), 7), expected)
    assert drawn(1, 2**64 - 1).shape == (2, 1, 2)


def test_counts_of_samples_are_whole_numbers(model):
    for value in NO_COUNTS:
        assert refused(value, model.sample).startswith("n: is ")
        if value is not None:
            assert refused(value, lambda v: model.sample(1, v)).startswith("steps: is ")
            assert refused(value, lambda v: model.sample(1, 2, warm_up=v)).startswith("warm_up: is ")


def test_more_draws_than_fit_in_memory_are_refused_at_once(bowl):
    start = np.zeros((2, 2))
    for draws in [10**15, 2**63 - 1, 2**27 // 6 + 1]:
        with pytest.raises(ebm.EbmError, match="at most 134217728 numbers are recorded"):
            ebm.sample(bowl, start, MALA, draws=draws)
    for more in [{"burn_in": 2**63 - 1}, {"thinning": 2**63 - 1}, {"burn_in": 10**7}]:
        with pytest.raises(ebm.EbmError, match="more than 10000000 steps"):
            ebm.sample(bowl, start, MALA, draws=2, **more)
    with pytest.raises(ebm.EbmError, match="start: has no rows"):
        ebm.sample(bowl, np.zeros((0, 2)), MALA, draws=2)


@pytest.mark.parametrize("value", NO_SHAPES, ids=lambda v: type(v).__name__)
def test_shapes_are_lengths_of_axes(value):
    for call in [lambda v: ebm.energy({"kind": "gaussian"}, shape=v), lambda v: ebm.from_function(lambda x: x, v)]:
        assert refused(value, call).startswith("shape")


def test_shapes_of_all_kinds_are_taken():
    for shape in [(2,), [2], np.array([2]), (np.int64(2),), range(2, 3)]:
        assert ebm.energy({"kind": "gaussian"}, shape=shape).shape == (2,)


@pytest.mark.parametrize("make", [own_loop, own_list, lambda: deep(3000), lambda: deep(90), lambda: wide(40)])
def test_dictionaries_without_end_are_refused(bowl, make, tmp_path):
    for call in [
        lambda d: ebm.energy(d, shape=(2,)),
        lambda d: ebm.sample(bowl, np.zeros((2, 2)), d, draws=2),
        lambda d: ebm.train({"energy": d}, data=SET, out=tmp_path / "a"),
        lambda d: ebm.train(data=SET, changes={"energy": d}, out=tmp_path / "a"),
        lambda d: ebm.load(tmp_path, changes={"energy": d}),
        lambda d: ebm.resume(tmp_path, changes={"energy": d}),
    ]:
        text = refused(make(), call)
        assert "levels" in text or "values" in text
    assert list(tmp_path.iterdir()) == []


def test_dictionaries_of_some_levels_are_taken():
    x = np.ones((1, 2), dtype=np.float32)
    np.testing.assert_allclose(ebm.energy(deep(10), shape=(2,)).energy(x), ebm.energy(deep(0), shape=(2,)).energy(x))


def test_settings_that_no_file_holds_are_refused(bowl):
    no_kinds = [{"kind": kind} for kind in (b"x", Odd(), {1, 2}, 1j, "\ud800")]
    for value in [None, 5, "nuts", [1], b"x", Odd(), *no_kinds]:
        refused(value, lambda v: ebm.sample(bowl, np.zeros((2, 2)), v, draws=2))
        refused(value, lambda v: ebm.energy(v, shape=(2,)))
    assert refused(5, lambda v: ebm.energy({"energy": {"kind": "gaussian"}, "generate": v}, shape=(2,))).startswith("generate")


def test_texts_beyond_16_bits_are_read_back(tmp_path):
    run = ebm.train(changes={"run.name": "räume 😀 \x7f", "run.steps": 1}, out=tmp_path / "a", bare=True)
    assert "räume 😀" in (tmp_path / "a" / "config.toml").read_text(encoding="utf-8") and run.step == 1


def test_changes_are_texts_or_settings(run, tmp_path):
    for value in NO_CHANGES:
        for call in [
            lambda v: ebm.load(run.directory, changes=v),
            lambda v: ebm.resume(run.directory, changes=v),
            lambda v: ebm.train(changes=v, out=tmp_path / "a"),
            lambda v: ebm.energy({"kind": "gaussian"}, shape=(2,), changes=v),
        ]:
            refused(value, call)
    assert list(tmp_path.iterdir()) == []


def test_paths_are_paths(run, tmp_path):
    for value in NO_PATHS:
        for call in [
            ebm.load,
            ebm.resume,
            lambda v: ebm.train(v, out=tmp_path / "a"),
            lambda v: ebm.train(out=v),
            lambda v: ebm.train(runs=v),
            lambda v: ebm.picture(np.zeros((2, 2))).save(v),
        ]:
            refused(value, call)
    for value in [None, "", tmp_path / "absent" / "a.png", tmp_path]:
        refused(value, ebm.picture(np.zeros((2, 2))).save)
    assert ebm.load(str(run.directory).encode()).step == 12
    assert list(tmp_path.iterdir()) == []


def test_other_arguments_of_training(run, tmp_path):
    out = tmp_path / "a"
    for value in NO_TEXTS:
        refused(value, lambda v: ebm.resume(run.directory, data=v))
        refused(value, lambda v: ebm.load(run.directory, data=v))
    for value in NO_FLAGS:
        assert refused(value, lambda v: ebm.train(out=out, bare=v)).startswith("bare: is ")
        assert refused(value, lambda v: ebm.resume(run.directory, bare=v)).startswith("bare: is ")
        assert refused(value, lambda v: ebm.resume(run.directory, other_data=v)).startswith("other_data: is ")
    for value in [*NO_NUMBERS, None]:
        assert refused(value, lambda v: ebm.train(out=out, every=v)).startswith("every: is ")
        assert refused(value, lambda v: ebm.resume(run.directory, every=v)).startswith("every: is ")
    for value in [5, "yes", [1], Odd()]:
        assert refused(value, lambda v: ebm.train(out=out, progress=v)).startswith("progress: is ")
    for value in [5, 0.5, [5], "text", [[0], [1, 2]], np.zeros(40), np.full(40, -1), np.full(40, 2**63, dtype=np.uint64)]:
        refused(value, lambda v: ebm.train(data=SET, labels=v, out=out))
    for value in [5, 5.0, Odd(), [[0.0], [1.0, 2.0]], {"a": 1}, [["a"]], np.full((4, 2), np.nan), np.zeros((0, 2))]:
        refused(value, lambda v: ebm.train(data=v, out=out))
    assert not out.exists() and not list(tmp_path.glob("labels-*"))


def test_thresholds_are_numbers_or_files(model, x):
    for value in [2.5, -1, None, [1], b"a", 10**5000, "\ud800", "a\0b", Odd()]:
        refused(value, lambda v: model.score(x, threshold=v))
    assert model.score(x, threshold=np.False_).inside is None


def test_conditions_that_are_none(tmp_path):
    network = {"kind": "mlp", "hidden": [8], "conditional": True}
    e = ebm.energy({"kind": "noise-conditioned", "level": 0.5, "energy": network}, shape=(2,))
    x = np.ones((3, 2), dtype=np.float32)
    no_vectors = [[[1], [1, 2]], [np.nan], np.full((3, 1), np.inf), {}, Odd(), [None]]
    for value in [-1, 10**5000, True, 0.5j, "\ud800", "a\0b", *no_vectors]:
        for call in [
            lambda v: e.energy(x, condition=v),
            lambda v: e.terms(x, condition=v),
            lambda v: e.slope(x, condition=v),
            lambda v: e.hvp(x, x, condition=v),
            lambda v: e.sample(3, 2, condition=v),
            lambda v: ebm.sample(e, x, MALA, draws=2, condition=v),
            lambda v: ebm.quadrature(e, condition=v),
        ]:
            refused(value, call)
    refused(np.float32(1.0), lambda v: e.energy(v, condition=[0.5]))


def test_energies_are_energies(bowl):
    for value in NO_ENERGIES:
        assert refused(value, lambda v: ebm.sample(v, np.zeros((2, 2)), MALA, draws=2)).startswith("energy: is ")
        assert refused(value, lambda v: ebm.quadrature(v)).startswith("energy: is ")


def test_functions_are_functions():
    torch = pytest.importorskip("torch")
    for value in [None, 5, "f", torch.zeros(2)]:
        assert "wanted a function" in refused(value, lambda v: ebm.from_function(v, (2,)))
        assert "wanted a function" in refused(value, lambda v: ebm.from_torch(v, (2,)))
    for value in ["nope", 5, "int32", complex, Odd()]:
        assert refused(value, lambda v: ebm.from_function(lambda x: x, (2,), dtype=v)).startswith("dtype: is ")


def test_measures_that_no_memory_holds_are_refused():
    with pytest.raises(ebm.EbmError, match="frechet: found 1000000 numbers a sample, wanted at most 16384"):
        ebm.frechet(np.zeros((2, 10**6)), np.zeros((2, 10**6)))
    with pytest.raises(ebm.EbmError, match="mmd: found 1000000 rows of a, wanted at most 16384"):
        ebm.mmd(np.zeros((10**6, 1)), SET[:, :1])


def test_shapes_that_no_memory_holds_are_refused():
    for shape in [(10**6, 10**6), (10**4, 10**4, 2), (1,) * 7]:
        assert refused(shape, lambda v: ebm.energy({"kind": "gaussian"}, shape=v)).startswith("shape: ")
        assert refused(shape, lambda v: ebm.from_function(lambda x: x, v)).startswith("shape: ")
        config = {"energy": {"kind": "gaussian"}, "generate": {"shape": list(shape)}}
        assert "generate.shape: is " in refused(config, ebm.energy)
    assert ebm.energy({"kind": "mlp", "hidden": [4]}, shape=(1,) * 6).energy(np.zeros((3,) + (1,) * 6)).shape == (3,)


def test_numbers_of_measures(bowl):
    for value in NO_NUMBERS:
        assert refused(value, lambda v: ebm.frechet(SET, SET, ridge=v)).startswith("ridge: is ")
        assert refused(value, lambda v: ebm.mmd(SET, SET, bandwidth=v)).startswith("bandwidth: is ")
        assert refused(value, lambda v: ebm.log_z(np.zeros(9), start=v)).startswith("start: is ")
        assert refused(value, lambda v: ebm.quadrature(bowl, tolerance=v)).startswith("tolerance: is ")
        assert refused(value, lambda v: ebm.quadrature(bowl, temperature=v)).startswith("temperature: is ")
        assert refused(value, lambda v: ebm.quadrature(bowl, centre=(0.0, v))).startswith("centre[1]: is ")
    for value in [5, None, "ab", (1.0,), (1.0, 2.0, 3.0), itertools.count(), {1: 2, 2: 3}, Odd()]:
        assert refused(value, lambda v: ebm.quadrature(bowl, spread=v)).startswith("spread: ")
    for value in [0.0, -1.0]:
        refused(value, lambda v: ebm.mmd(SET, SET, bandwidth=v))
        refused(value, lambda v: ebm.quadrature(bowl, temperature=v))
        refused(value, lambda v: ebm.quadrature(bowl, tolerance=v))
        refused(value, lambda v: ebm.quadrature(bowl, spread=(1.0, v)))
    for value in NO_COUNTS:
        if value is not None:
            assert refused(value, lambda v: ebm.picture(SET, columns=v)).startswith("columns: is ")


#: No arrays of numbers, whatever their shape.
NO_ARRAYS = [
    "a",
    None,
    {},
    {1, 2},
    Odd(),
    [[0.0], [0.0, 1.0]],
    np.array([["2020-01-01"]], dtype="M8[D]"),
    np.zeros((2, 2), dtype=complex),
    np.zeros((2, 2), dtype=object),
    np.zeros(2, dtype=[("a", "f8")]),
    np.ma.array(np.zeros((2, 2)), mask=np.eye(2)),
    # A few numbers in memory that claim to be 20 terabytes.
    np.broadcast_to(np.zeros(2), (10**12, 2)),
]


@pytest.mark.parametrize("value", NO_ARRAYS, ids=lambda v: type(v).__name__)
def test_arrays_are_arrays(bowl, model, value, tmp_path):
    for call in [
        bowl.energy,
        bowl.slope,
        bowl.terms,
        bowl,
        model.score,
        lambda v: model.hvp(np.zeros((1, 1, 8, 8)), v),
        lambda v: ebm.sample(bowl, v, MALA, draws=2),
        lambda v: ebm.frechet(v, SET),
        lambda v: ebm.mmd(SET, v),
        lambda v: ebm.detection(v, np.zeros(3)),
        lambda v: ebm.detection(np.zeros(3), v),
        lambda v: ebm.log_z(v),
        lambda v: ebm.log_z(np.zeros(9), reverse=v if v is not None else "a"),
        lambda v: ebm.quadrature(bowl, places=v if v is not None else "a"),
        ebm.ess,
        ebm.rhat,
        ebm.summarise,
        ebm.picture,
        lambda v: ebm.picture(SET, background=v if v is not None else "a"),
        lambda v: ebm.from_function(lambda x: (v, x), (2,)).slope(np.zeros((2, 2))),
        lambda v: ebm.from_function(lambda x: (x[:, 0], v), (2,)).slope(np.zeros((2, 2))),
    ]:
        refused(value, call)
    if value is not None and not isinstance(value, str):
        refused(value, lambda v: ebm.train(data=v, out=tmp_path / "a"))
    assert list(tmp_path.iterdir()) == []


def test_arrays_that_lie_askew_are_read(model, x, tmp_path):
    def askew(array):
        """The same numbers, each one byte off the place that it should have."""
        found = np.frombuffer(b"\0" + array.tobytes(), dtype="u1")[1:].view(array.dtype).reshape(array.shape)
        assert found.flags.c_contiguous and not found.flags.aligned
        return found

    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(model.energy(askew(x.astype(dtype))), model.energy(x))
    np.testing.assert_array_equal(model.hvp(x, askew(x)), model.hvp(x, x))
    assert ebm.frechet(askew(SET), SET) == ebm.frechet(SET, SET)
    own = ebm.from_function(lambda x: (askew(0.5 * (x**2).sum(1)), askew(x)), (2,))
    np.testing.assert_array_equal(own.slope(askew(SET))[1], SET)


def test_tensors_of_bfloat16_are_read(bowl):
    torch = pytest.importorskip("torch")
    at = torch.tensor(SET).bfloat16()
    np.testing.assert_array_equal(bowl.slope(at)[1], at.double().numpy())


def test_data_are_found_by_their_path(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((20, 1, 8, 8), dtype=np.float32))
    run = ebm.train(changes={"run.steps": 1}, data=tmp_path / "a.npy", out=tmp_path / "a", bare=True)
    assert ebm.load(run.directory, data=tmp_path / "a.npy").shape == (1, 8, 8)


def test_views_of_torch_that_stand_for_their_negative_keep_their_signs(bowl):
    torch = pytest.importorskip("torch")
    at = torch.tensor(SET)
    np.testing.assert_array_equal(bowl.slope(torch._neg_view(at))[1], -SET)

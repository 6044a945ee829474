"""Energies of arrays: values, gradients, conditions, arrays of other libraries, errors, the lock."""

import threading
import time

import numpy as np
import pytest

import ebm_candle as ebm


def test_shapes_and_types_are_those_of_the_model(model, x):
    energy, gradient = model.slope(x)
    assert (energy.shape, gradient.shape) == ((6,), x.shape)
    assert energy.dtype == gradient.dtype == model.dtype == np.float32
    np.testing.assert_allclose(model.energy(x), energy, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model.terms(x).sum(1), energy, rtol=1e-5, atol=1e-7)
    assert model.shape == (1, 8, 8) and model.step == 12 and model.parameters > 80_000


def test_gradients_and_products_are_the_derivatives():
    # In f64 a central difference is right to about 1e-9 of the value; 1e-6 leaves room for the network's curvature.
    settings = {"kind": "mlp", "hidden": [16, 16], "activation": "swish"}
    e = ebm.energy(settings, shape=(3,), changes={"run.dtype": "f64"})
    rng = np.random.default_rng(1)
    x, v, h = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), 1e-5
    energy, gradient = e.slope(x)
    assert energy.dtype == np.float64 and np.abs(gradient).max() > 1e-4
    difference = (e.energy(x + h * v) - e.energy(x - h * v)) / (2 * h)
    np.testing.assert_allclose(difference, (gradient * v).sum(1), rtol=1e-6, atol=1e-9)
    product = (e.slope(x + h * v)[1] - e.slope(x - h * v)[1]) / (2 * h)
    np.testing.assert_allclose(e.hvp(x, v), product, rtol=1e-6, atol=1e-9)


def test_pieces_give_what_one_batch_gives(model):
    # The run's batch is 64: 150 rows go through in three pieces, in a thread of their own.
    x = np.random.default_rng(2).random((150, 1, 8, 8), dtype=np.float32)
    energy, gradient = model.slope(x)
    for rows in (slice(0, 64), slice(64, 128), slice(128, 150)):
        e, g = model.slope(x[rows])
        np.testing.assert_array_equal(energy[rows], e)
        np.testing.assert_array_equal(gradient[rows], g)


def test_arrays_of_any_layout_and_type_are_read(model, x):
    expected = model.energy(x)
    np.testing.assert_array_equal(model.energy(np.asfortranarray(x)), expected)
    np.testing.assert_array_equal(model.energy(x[::-1]), expected[::-1])
    np.testing.assert_array_equal(model.energy(x.astype(np.float64)), expected)
    np.testing.assert_array_equal(model.energy(x.tolist()), expected)
    # Black and white, in the middle of two levels, as in files that a model of images scores.
    binary = x > 0.5
    np.testing.assert_array_equal(model.energy(binary), model.energy(np.float32(binary * 0.5 + 0.25)))
    plain = ebm.energy({"kind": "gaussian"}, shape=(2,))
    np.testing.assert_allclose(plain.energy(np.array([[True, False]])), [0.5])


class Tensor:
    """A tensor of another library, as DLPack sees it."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_tensors_come_in_and_go_out_by_dlpack(model, x):
    np.testing.assert_array_equal(model.energy(Tensor(x)), model.energy(x))
    energy = model.energy(x)
    np.testing.assert_array_equal(np.from_dlpack(energy), energy)


def test_tensors_of_torch(model, x):
    torch = pytest.importorskip("torch")
    at = torch.from_numpy(x).requires_grad_()
    energy, gradient = model.slope(at)
    np.testing.assert_array_equal(gradient, model.slope(x)[1])
    assert torch.from_dlpack(energy).shape == (6,)
    own = ebm.from_torch(lambda x: 0.5 * (x**2).sum(1), (2,))
    points = np.array([[1.0, 2.0], [3.0, -1.0]], dtype=np.float32)
    energy, gradient = own.slope(points)
    np.testing.assert_allclose(energy, [2.5, 5.0])
    np.testing.assert_allclose(gradient, points)


def test_conditions_are_classes_names_and_vectors():
    network = {"kind": "mlp", "hidden": [8], "conditional": True}
    e = ebm.energy({"kind": "noise-conditioned", "level": 0.5, "energy": network}, shape=(2,))
    assert e.condition_length == 1
    x = np.ones((3, 2), dtype=np.float32)
    one, rows = e.energy(x, condition=[0.5]), e.energy(x, condition=np.full((3, 1), 0.5))
    np.testing.assert_array_equal(one, rows)
    assert not np.array_equal(one, e.energy(x, condition=[2.0]))
    with pytest.raises(ebm.EbmError, match=r"condition: found shape \[3, 2\], wanted \(1,\) or \(3, 1\)"):
        e.energy(x, condition=np.ones((3, 2)))
    with pytest.raises(ebm.EbmError, match="condition: found classes 0 to 7, wanted 0 to 0"):
        e.energy(x, condition=np.array([0, 7, 1]))


def test_errors_say_what_was_wanted(model, x):
    assert issubclass(ebm.EbmError, ValueError)
    with pytest.raises(ebm.EbmError, match=r"found shape \[6, 64\], expected \(B, 1, 8, 8\)"):
        model.slope(x.reshape(6, 64))
    with pytest.raises(ebm.EbmError, match=r"v: found shape \[5, 1, 8, 8\], wanted that of x, \[6, 1, 8, 8\]"):
        model.hvp(x, x[:5])
    with pytest.raises(ebm.EbmError, match="condition: was given, but the energy takes none"):
        model.energy(x, condition=np.zeros(6, dtype=int))
    with pytest.raises(ebm.EbmError, match="x: found an array of complex128, wanted numbers"):
        model.energy(x.astype(complex))
    with pytest.raises(ebm.EbmError, match="x: found an array of <U1, wanted numbers"):
        model.energy("a")
    with pytest.raises(ebm.EbmError, match="put the samples along the first axis"):
        model.energy(np.float32(1.0))


def test_configurations_are_refused_with_their_lines():
    with pytest.raises(ebm.EbmError) as e:
        ebm.energy({"kind": "mlp", "hidden": [8], "activation": "swosh"}, shape=(2,))
    assert "energy.activation" in str(e.value) and "did you mean `swish`" in str(e.value)
    assert '4 | activation = "swosh"' in str(e.value)
    with pytest.raises(ebm.EbmError, match="mpl"):
        ebm.energy({"kind": "mpl"}, shape=(2,))
    with pytest.raises(ebm.EbmError, match="wanted text, numbers, lists and dictionaries"):
        ebm.energy({"kind": object()}, shape=(2,))


def test_no_rows_are_an_answer_or_an_error_but_no_fault(model, x):
    try:
        energy, gradient = model.slope(x[:0])
        assert energy.shape == (0,) and gradient.shape == (0, 1, 8, 8)
    except ebm.EbmError as e:
        assert "fault of this library" not in str(e)


def test_a_function_fails_with_its_own_exception(bowl):
    np.testing.assert_allclose(bowl.energy(np.array([[3.0, 4.0]])), [12.5])

    def broken(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ebm.from_function(broken, (2,)).slope(np.zeros((1, 2)))
    with pytest.raises(ebm.EbmError, match=r"energies of the function: found shape \[3, 1\]"):
        ebm.from_function(lambda x: (x[:, :1], x), (2,)).slope(np.zeros((3, 2)))
    with pytest.raises(ebm.EbmError, match="wanted a pair of energies"):
        ebm.from_function(lambda x: x, (2,)).slope(np.zeros((3, 2)))
    with pytest.raises(ebm.EbmError, match="second derivatives"):
        bowl.hvp(np.zeros((1, 2)), np.zeros((1, 2)))


def test_the_lock_is_free_while_samples_are_drawn(model):
    # The function of the energy waits until another thread of Python has run; if the lock were kept it never would.
    ran = threading.Event()
    entered = threading.Event()

    def waiting(x):
        entered.set()
        assert ran.wait(timeout=60)
        return 0.5 * (x**2).sum(1), x

    def other():
        assert entered.wait(timeout=60)
        model.energy(np.zeros((1, 1, 8, 8), dtype=np.float32))
        ran.set()

    thread = threading.Thread(target=other)
    thread.start()
    ebm.from_function(waiting, (2,)).slope(np.zeros((1, 2)))
    thread.join()

    # A computation in Rust leaves the lock too: this thread counts while the other draws.
    done = threading.Event()
    drawing = threading.Thread(target=lambda: (model.sample(64, 400), done.set()))
    drawing.start()
    looked = 0
    while not done.is_set():
        looked += 1
        time.sleep(0.001)
    drawing.join()
    assert looked > 3

"""Energies and models: values, gradients, Hessian-vector products, samples, scores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

import numpy as np
import numpy.typing as npt

from . import _arguments as take
from . import _native
from ._arrays import Array, Floats, finite, floats, taken
from ._config import Configuration, as_json, changed
from ._native import EbmError

#: A class by its number or name, classes ``(B,)`` of whole numbers, one condition ``(c,)``, or one for each row ``(B, c)``.
Condition = Union[int, str, Array]


class Energy:
    """An energy ``E(x)`` of samples, in nats. ``B`` is the number of rows, ``...`` the shape of one sample.

    Energies come from :func:`load`, :func:`energy`, :func:`from_function` and :func:`from_torch`.
    """

    def __init__(self, native: _native.Energy) -> None:
        self._energy = native

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self._energy.sample_shape)

    @property
    def terms_names(self) -> list[str]:
        """Names of the terms whose sum the energy is."""
        return self._energy.terms_names

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type that it is computed in: float32 or float64. Samples of another type are converted."""
        return np.dtype(self._energy.dtype)

    @property
    def condition_length(self) -> Optional[int]:
        """Length ``c`` of the condition that it takes, such as its number of classes; ``None`` without one."""
        found = self._energy.condition
        return found and found[0]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, if they have any."""
        return self._energy.class_names

    @property
    def parameters(self) -> int:
        """Number of its parameters."""
        return self._energy.parameters

    @property
    def engine(self) -> str:
        """How it is computed, in a line."""
        return self._energy.engine

    def energy(self, x: Array, condition: Optional[Condition] = None) -> Floats:
        """Energies ``(B,)`` of samples ``x`` ``(B, ...)``, under ``condition``.

        Bytes are images to a model that was trained on such, here and wherever samples are taken: each stands in the
        middle of its grey level, as where ``ebm score`` reads them; bytes that are all 0 or 1, and truth values, are black
        and white: 0.25 and 0.75.

        Raises :class:`EbmError` if the shape does not fit.
        """
        x = self._samples(x)
        return self._energy.energy(x, self._rows_given(condition, x))

    def terms(self, x: Array, condition: Optional[Condition] = None) -> Floats:
        """Terms ``(B, T)`` of the energies of ``x`` ``(B, ...)``, in the order of :attr:`terms_names`."""
        x = self._samples(x)
        return self._energy.terms(x, self._rows_given(condition, x))

    def slope(self, x: Array, condition: Optional[Condition] = None) -> tuple[Floats, Floats]:
        """Energies ``(B,)`` and gradients ``dE/dx`` ``(B, ...)`` of samples ``x`` ``(B, ...)``, in one pass."""
        x = self._samples(x)
        e, g = self._energy.slope(x, self._rows_given(condition, x))
        return e, g

    def hvp(self, x: Array, v: Array, condition: Optional[Condition] = None) -> Floats:
        """Hessian-vector products ``d/dx <v, dE/dx>`` ``(B, ...)`` of each row of ``x`` with that of ``v``, both ``(B, ...)``."""
        x = self._samples(x)
        given = self._rows_given(condition, x)
        return self._energy.hvp(x, floats(v, "v"), given)

    def __call__(self, x: Array, condition: Optional[Condition] = None) -> Floats:
        """:meth:`energy`."""
        return self.energy(x, condition)

    def _samples(self, x: Array, what: str = "x") -> Floats:
        """``x`` as numbers in the units of training samples, or of a table's standardised ones."""
        found = taken(x, what)
        if found.dtype in (np.uint8, np.bool_):
            levels = self._levels_of(int(found.max()) if found.size else 0)
            if levels is not None:
                return floats((found + 0.5) / levels, what)
        return floats(found, what)

    def _levels_of(self, most: int) -> Optional[int]:
        """Grey levels of bytes up to ``most``, where they are images."""
        return None

    def _rows_given(self, condition: Optional[Condition], x: Floats) -> Optional[Floats]:
        """The condition of each row of ``x``, if there is one; what has no rows is refused later, by its shape."""
        return None if condition is None else self._given(condition, len(x) if x.ndim else 1)

    def _given(self, condition: Condition, rows: int, *, in_turn: bool = False) -> Floats:
        """A condition for each of the rows, ``(rows, c)``; where they are used in turn, one for all is ``(1, c)``."""
        copies = 1 if in_turn else rows
        if isinstance(condition, (int, np.integer, str)) and not isinstance(condition, bool):
            named = take.text(condition, "condition") if isinstance(condition, str) else str(take.whole(condition, "condition"))
            return np.ascontiguousarray(np.tile(self._energy.vector(named), (copies, 1)))
        length = self.condition_length
        if length is None:
            raise EbmError("condition: was given, but the energy takes none")
        array = taken(condition, "condition")
        if array.ndim == 1 and np.issubdtype(array.dtype, np.integer):
            if array.shape != (rows,):
                raise EbmError(f"condition: found {len(array)} classes, wanted one for each of {rows} rows")
            if array.size and not (0 <= array.min() and array.max() < length):
                raise EbmError(f"condition: found classes {array.min()} to {array.max()}, wanted 0 to {length - 1}")
            return np.eye(length, dtype=np.float32)[array]
        given = finite(condition, "condition")
        if given.shape == (length,):
            return np.ascontiguousarray(np.tile(given, (copies, 1)))
        if given.shape != (rows, length):
            wanted = f"({length},) or ({rows}, {length})"
            raise EbmError(f"condition: found shape {list(given.shape)}, wanted {wanted}, or classes as whole numbers")
        return given

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of samples {self.shape}, {self.parameters} parameters>"


@dataclass(frozen=True)
class Scores:
    """What a model says of samples, a row each."""

    energy: npt.NDArray[np.float64]
    """Energies ``(B,)``, in nats; where the energy must have a class, the marginal ones over all classes."""
    terms: dict[str, npt.NDArray[np.float64]]
    """Terms of the energies by name, ``(B,)`` each."""
    score: Optional[npt.NDArray[np.float64]] = None
    """The threshold's score ``(B,)``, higher for what is more outside."""
    inside: Optional[npt.NDArray[np.bool_]] = None
    """Whether the threshold takes a sample for one of the training's kind, ``(B,)``."""


class Model(Energy):
    """A trained energy, or a fresh one of a configuration, with what sampling it needs."""

    def __init__(self, native: _native.Model, run: Optional[str] = None) -> None:
        super().__init__(native.energy)
        self._model = native
        self._run = run

    def _levels_of(self, most: int) -> Optional[int]:
        return self._model.levels_of(most)

    @property
    def step(self) -> Optional[int]:
        """Updates of its checkpoint; ``None`` without one."""
        return self._model.step

    @property
    def checkpoint(self) -> Optional[str]:
        """Folder of its checkpoint."""
        found = self._model.checkpoint
        return None if found is None else os.fspath(found)

    @property
    def sampler(self) -> str:
        """Its program of generation, in words."""
        return self._model.sampler

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the table that it was trained on, in their order; empty for other data."""
        return self._model.columns

    def standardised(self, x: Array) -> Floats:
        """Samples ``(n, ...)`` as the model takes them, of numbers in the units of the table that it was trained on.

        Numbers lose the mean of the training rows and are divided by their deviation, angles become radians, one-hot vectors
        stay. Energies, slopes, scores and chains are of such samples. For other data it changes nothing. In float64.
        """
        return self._model.in_units(floats(x, "x"), True)

    def in_units(self, x: Array) -> Floats:
        """The way back of :meth:`standardised`: samples such as :meth:`sample` gives, in the units of the table. In float64."""
        return self._model.in_units(floats(x, "x"), False)

    def sample(
        self,
        n: int,
        steps: Optional[int] = None,
        *,
        seed: Optional[int] = None,
        warm_up: Optional[int] = None,
        condition: Optional[Condition] = None,
    ) -> Floats:
        """``n`` samples ``(n, ...)`` from fresh starts: the ends of as many chains.

        ``steps`` of the model's own program instead of as many as configured, of which the first ``warm_up`` (half of
        them without it) adapt step sizes; ``seed`` instead of the run's. The same arguments give the same samples. A
        model of classes draws them as often as they are in the data, or as ``condition`` says.
        """
        n = take.whole(n, "n")
        steps, warm_up = take.optional(take.whole, steps, "steps"), take.optional(take.whole, warm_up, "warm_up")
        conditions = None if condition is None else self._given(condition, n, in_turn=True)
        return self._model.sample(n, steps, take.optional(take.seed, seed), warm_up, conditions)

    def score(self, x: Array, threshold: Union[bool, int, str, "os.PathLike[str]"] = False) -> Scores:
        """Energies of samples ``x`` ``(B, ...)`` that have no condition, as they are used to find outsiders.

        Samples of a table are :meth:`standardised`, where ``ebm score`` takes the table's own units.

        With ``threshold`` the samples are judged by a threshold of the run: ``True`` for the newest, a number, or a file.
        """
        if isinstance(threshold, (bool, np.bool_)) and not threshold:
            return Scores(**self._model.score(self._samples(x), None, None))
        if self._run is None:
            raise EbmError("threshold: is kept in the folder of a run, and this model was not loaded from one")
        which: Optional[str] = None
        if isinstance(threshold, (str, os.PathLike)):
            which = take.text(take.path(threshold, "threshold"), "threshold")
        elif not isinstance(threshold, (bool, np.bool_)):
            which = str(take.whole(threshold, "threshold"))
        return Scores(**self._model.score(self._samples(x), self._run, which))


def load(
    run: Union[str, "os.PathLike[str]"],
    *,
    changes: Union[Iterable[str], Mapping[str, Any]] = (),
    data: Union[str, "os.PathLike[str]", None] = None,
) -> Model:
    """Opens a run directory at its newest whole checkpoint, a configuration file, or a composition such as
    ``"runs/a and not 0.3 * runs/b"``.

    ``changes`` are settings in place of the run's, such as ``{"generate.steps": 400}``; ``data`` says where the training
    data are now. Raises :class:`EbmError` if it is neither, or the checkpoint is damaged or does not fit.
    """
    place = take.path(run, "run")
    native = _native.Model.open(place, changed(changes), take.optional(take.data, data))
    return Model(native, place if os.path.isdir(place) else None)


def energy(
    kind: Configuration,
    shape: Optional[Sequence[int]] = None,
    *,
    changes: Union[Iterable[str], Mapping[str, Any]] = (),
) -> Model:
    """An energy of the framework by its settings, such as ``energy({"kind": "gaussian", "mean": [0.0, 0.0]}, shape=(2,))``.

    ``kind`` is the section ``[energy]`` as a dictionary, or a whole configuration, which has one. ``shape`` is that of one
    sample; an energy that fixes it needs none. ``changes`` are of the configuration around it, such as
    ``{"run.dtype": "f64"}``.
    """
    if not isinstance(kind, Mapping):
        raise take.refused("energy", kind, "a dictionary with a kind; load() opens files")
    settings: dict[str, Any] = {"energy": dict(kind)} if "kind" in kind else dict(kind)
    if shape is not None:
        generate = settings.get("generate", {})
        if not isinstance(generate, Mapping):
            raise take.refused("generate", generate, "a dictionary of settings")
        settings["generate"] = {**generate, "shape": take.shape(shape)}
    settings.setdefault("format", 1)
    return Model(_native.Model.of_configuration(as_json(settings), changed(changes)))


def asked(energy: Energy) -> Energy:
    """An energy that a call is given."""
    if not isinstance(energy, Energy):
        raise take.refused("energy", energy, "an Energy: of energy(), load(), from_function() or from_torch()")
    return energy


#: Samples ``(B, ...)`` to energies ``(B,)`` and gradients ``(B, ...)``.
Function = Callable[[Floats], tuple[Array, Array]]


def from_function(function: Function, shape: Sequence[int], *, dtype: Any = np.float64) -> Energy:
    """The energy of a Python function, for all samplers and measures.

    ``function`` takes samples ``(B, *shape)`` as an array of ``dtype`` (float32 or float64) and returns their energies
    ``(B,)`` and the gradients of these, ``(B, *shape)``. It knows no second derivatives, so neither does the energy. An
    exception in it comes out of the call that asked for it. Where it has no energy, say so by ``+inf``: NaN, and gradients
    that are not finite, draw a warning from :func:`sample`.
    """
    double = _is_double(dtype)
    take.function(function, "function", "a function of samples that returns energies and gradients")

    def call(x: Floats) -> tuple[Floats, Floats]:
        found = function(x)
        if not isinstance(found, tuple) or len(found) != 2:
            raise EbmError(
                f"the energy's function: returned {type(found).__name__}, wanted a pair of energies (B,) and gradients"
            )
        return floats(found[0], "energies of the function"), floats(found[1], "gradients of the function")

    return Energy(_native.Energy.of_function(call, take.shape(shape), double))


def _is_double(dtype: Any) -> bool:
    try:
        kind = np.dtype(dtype)
    except Exception:
        raise take.refused("dtype", dtype, "float32 or float64, of NumPy") from None
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise EbmError(f"dtype: is {kind}, must be float32 or float64")
    return kind == np.dtype(np.float64)


def from_torch(energy_of: Callable[[Any], Any], shape: Sequence[int], *, dtype: Any = np.float32) -> Energy:
    """The energy of a function of PyTorch, which autograd differentiates: ``energy_of(x)`` maps a tensor
    ``(B, *shape)`` to energies ``(B,)``, computed from it by operations that are recorded."""
    import torch  # type: ignore[import-not-found,unused-ignore]

    take.function(energy_of, "energy_of", "a function of tensors, such as a module")

    def function(x: Floats) -> tuple[Array, Array]:
        with torch.enable_grad():
            at = torch.from_numpy(x).requires_grad_(True)
            energies = energy_of(at)
            if not isinstance(energies, torch.Tensor) or not energies.is_floating_point():
                raise take.refused("energies of the function", energies, "a tensor of PyTorch of floating-point numbers (B,)")
            if tuple(energies.shape) != (len(x),):
                raise EbmError(f"energies of the function: found shape {list(energies.shape)}, wanted [{len(x)}]")
            gradient = None
            if energies.requires_grad:
                (gradient,) = torch.autograd.grad(energies.sum(), at, allow_unused=True)
            if gradient is None:
                why = "no operation on x was recorded; compute them from x, without detach() and no_grad()"
                raise EbmError(f"energies of the function: have no gradient: {why}")
        return energies.detach(), gradient

    return from_function(function, shape, dtype=dtype)

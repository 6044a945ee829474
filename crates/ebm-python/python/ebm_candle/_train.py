"""Training: from a configuration and arrays to a run directory, with progress and Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

import numpy as np

from . import _arguments as take
from . import _native
from ._arrays import Array, finite, taken
from ._config import Configuration, as_json, changed, quoted
from ._energy import Model, load
from ._native import EbmError

#: ``True`` prints, a function is called with ``{"step": ..., "of": ..., "values": {...}}``.
Progress = Union[bool, Callable[[dict[str, Any]], Any]]


@dataclass(frozen=True)
class Run:
    """A run that has ended, well or not."""

    directory: str
    """Its directory."""
    outcome: str
    """``done``, ``finished`` (early, in good order), ``ill`` or ``diverged``."""
    reason: Optional[str]
    """What was found, or why it finished early."""
    step: int
    """Updates so far."""
    seconds: float
    """Wall time of this call."""
    values: dict[str, float]
    """Numbers of the last step by name, such as ``energy.data``."""
    report: dict[str, Any]
    """Everything that is known of its end, measures of its samples included."""

    @property
    def ok(self) -> bool:
        """Whether its model is of use."""
        return self.outcome in ("done", "finished")

    def load(self) -> Model:
        """The trained model."""
        return load(self.directory)


def train(
    config: Configuration = None,
    *,
    data: Optional[Array] = None,
    labels: Optional[Array] = None,
    out: Union[str, "os.PathLike[str]", None] = None,
    runs: Union[str, "os.PathLike[str]"] = "runs",
    changes: Union[Iterable[str], Mapping[str, Any]] = (),
    progress: Progress = False,
    every: float = 1.0,
    bare: bool = False,
) -> Run:
    """Trains a configuration in a new run directory.

    ``config`` is a file, a dictionary with the same sections, or ``None`` for the built-in quick start; ``changes`` are made
    of it, such as ``{"run.steps": 500}``.

    ``data`` replaces the section ``[data]``: an array of samples ``(n, ...)``, or the text for a set (``"digits"``, a file, a
    folder). An array is written beside the run (``data-<digest>.npy``), so that the run can be continued and
    measured; other settings of a section ``[data]`` of kind ``npy`` stay. Floats are used as they are, bytes are images.
    ``labels`` ``(n,)`` are the classes of the samples, whole numbers from 0: the condition of the energy.

    The run directory is ``out``, or a numbered one below ``runs``. ``progress`` is told of the run at most every ``every``
    seconds, in the thread that called: ``True`` prints a line, a function gets a dictionary. With ``bare`` no samples are
    drawn and measured at the end.

    Ctrl-C, or an exception in ``progress``, stops the run after its state is saved, and is raised: :func:`resume` goes on.
    A run that diverges is no exception but a warning: see :attr:`Run.outcome`.
    """
    made: dict[str, Any] = {
        "path": None if config is None or isinstance(config, Mapping) else take.path(config, "config"),
        "json": as_json(config) if isinstance(config, Mapping) else None,
        "changes": changed(changes),
        "data": take.data(data) if isinstance(data, (str, os.PathLike)) else None,
        "out": take.optional(take.path, out, "out"),
        "runs": take.path(runs, "runs"),
        "bare": take.flag(bare, "bare"),
    }
    told, every = _teller(progress), take.number(every, "every")
    if data is not None and made["data"] is None:
        folder = made["runs"] if out is None else os.path.dirname(made["out"]) or "."
        # All is read before anything is written; where it is written stands in a text.
        take.text(folder, "out" if out is not None else "runs", "a path")
        samples = _samples(data)
        classes = None if labels is None else _classes(labels, len(samples))
        made["data"] = "npy:path=" + quoted(_written(folder, "data", samples))
        if classes is not None:
            made["data"] += ",labels=true,label_file=" + quoted(_written(folder, "labels", classes))
    elif labels is not None:
        raise EbmError("labels: were given without an array of data; labels of files are settings of [data]")
    return _ended(*_native.train(made, told, every))


def resume(
    run: Union[str, "os.PathLike[str]"],
    *,
    changes: Union[Iterable[str], Mapping[str, Any]] = (),
    data: Union[str, "os.PathLike[str]", None] = None,
    other_data: bool = False,
    progress: Progress = False,
    every: float = 1.0,
    bare: bool = False,
) -> Run:
    """Continues a run from its newest whole checkpoint, to the same bytes as if it had never stopped.

    ``changes`` are of ``run.steps``, devices, observers, policies and of where data lie; ``data`` says where the data are now,
    ``other_data`` that they may be others. All else is as in :func:`train`.
    """
    made = {
        "directory": take.path(run, "run"),
        "changes": changed(changes),
        "data": take.optional(take.data, data),
        "other_data": take.flag(other_data, "other_data"),
        "bare": take.flag(bare, "bare"),
    }
    return _ended(*_native.resume(made, _teller(progress), take.number(every, "every")))


def _teller(progress: Progress) -> Optional[Callable[[dict[str, Any]], Any]]:
    if isinstance(progress, (bool, np.bool_)) or progress is None:
        return _print if progress else None
    return take.function(progress, "progress", "True, False or a function of a report")


def _print(report: dict[str, Any]) -> None:
    values = report["values"]
    shown = [f"{name} {values[name]:.4f}" for name in ("loss", "energy.data", "energy.samples") if name in values]
    print("  ".join([f"step {report['step']} of {report['of']}", *shown]), flush=True)


def _ended(report: str, raised: Optional[BaseException]) -> Run:
    told = json.loads(report)
    summary = told["summary"]
    run = Run(
        directory=told["directory"],
        outcome=summary["outcome"],
        reason=summary.get("reason"),
        step=summary["step"],
        seconds=summary["seconds"],
        values=summary["last"]["values"],
        report=told,
    )
    if raised is not None:
        saved = f"stopped after step {run.step}; saved in {run.directory}, where resume() goes on"
        if isinstance(raised, KeyboardInterrupt):
            raise KeyboardInterrupt(saved) from None
        if hasattr(raised, "add_note"):
            raised.add_note(saved)
        raise raised
    if not run.ok:
        warnings.warn(f"the run in {run.directory} is {run.outcome}: {run.reason}", RuntimeWarning, stacklevel=3)
    return run


def _samples(data: Array) -> Any:
    array = taken(data, "data")
    if array.ndim == 0:
        raise EbmError("data: found a single number, wanted samples along the first axis, (n, ...)")
    return np.ascontiguousarray(array) if array.dtype in (np.uint8, np.bool_) else finite(array, "data")


def _classes(labels: Array, rows: int) -> Any:
    array = taken(labels, "labels")
    if array.shape != (rows,) or not np.issubdtype(array.dtype, np.integer):
        raise EbmError(f"labels: found {array.dtype} of shape {list(array.shape)}, wanted whole numbers of shape [{rows}]")
    if rows and not 0 <= array.min() <= array.max() < 2**31:
        raise EbmError(f"labels: found classes from {array.min()} to {array.max()}, wanted whole numbers from 0")
    return array.astype(np.int64)


def _written(folder: str, name: str, array: Any) -> str:
    """Writes an array under the digest of its bytes; what is there already under that name is the same."""
    digest = hashlib.sha256(repr((array.shape, array.dtype.str)).encode() + array.tobytes()).hexdigest()[:16]
    path = os.path.join(folder, f"{name}-{digest}.npy")
    try:
        os.makedirs(folder, exist_ok=True)
        if not os.path.exists(path):
            with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as beside:
                np.save(os.path.join(beside, "array.npy"), array)
                os.replace(os.path.join(beside, "array.npy"), path)
    except OSError as e:
        raise EbmError(f"data: cannot be written beside the run: {e}") from e
    return path

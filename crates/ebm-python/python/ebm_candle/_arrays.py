"""What users hand in as arrays of the kind that the compiled half reads."""

from __future__ import annotations

from typing import Any, Union

import numpy as np
import numpy.typing as npt

from ._native import EbmError

#: A NumPy array, anything that NumPy makes one of, or a tensor that speaks DLPack on the CPU.
Array = Any
#: Numbers out: float32 or float64.
Floats = npt.NDArray[Union[np.float32, np.float64]]

_READ = (np.dtype(np.float32), np.dtype(np.float64))


def floats(x: Array, what: str) -> Floats:
    """``x`` as float32 or float64 in C order; without a copy where it is that already."""
    if type(x) is not np.ndarray:
        x = _taken(x, what)
    if x.dtype not in _READ:
        if not (np.issubdtype(x.dtype, np.number) or x.dtype == np.bool_) or np.iscomplexobj(x):
            raise EbmError(f"{what}: found an array of {x.dtype}, wanted numbers")
        x = x.astype(np.float32 if x.dtype.itemsize <= 2 else np.float64)
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)


def _taken(x: Array, what: str) -> npt.NDArray[Any]:
    if hasattr(x, "__dlpack__") and not isinstance(x, np.ndarray):
        # A tensor that a gradient is recorded for gives its numbers only without it.
        x = x.detach() if getattr(x, "requires_grad", False) else x
        try:
            return np.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError, ValueError) as e:
            raise EbmError(f"{what}: {e}; wanted an array or a tensor on the CPU") from e
    try:
        return np.asarray(x)
    except (TypeError, ValueError) as e:
        raise EbmError(f"{what}: found {type(x).__name__}, wanted an array: {e}") from e


def table(x: Array, what: str) -> Floats:
    """``x`` ``(n, ...)`` as ``(n, d)``."""
    rows = floats(x, what)
    if rows.ndim < 2:
        raise EbmError(f"{what}: found shape {list(rows.shape)}, wanted (n, d): samples along the first axis")
    return rows.reshape(len(rows), int(np.prod(rows.shape[1:])))

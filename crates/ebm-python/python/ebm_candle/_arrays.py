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
#: Numbers of one array at most. One that repeats a few numbers without holding them may claim to have any number of them.
_MOST = 1 << 31


def floats(x: Array, what: str) -> Floats:
    """``x`` as float32 or float64 in C order and aligned; without a copy where it is that already."""
    x = taken(x, what)
    if x.dtype not in _READ:
        if not (np.issubdtype(x.dtype, np.number) or x.dtype == np.bool_) or np.iscomplexobj(x):
            raise EbmError(f"{what}: found an array of {x.dtype}, wanted numbers")
        x = x.astype(np.float32 if x.dtype.itemsize <= 2 else np.float64)
    return x if x.flags.c_contiguous and x.flags.aligned else np.array(x, order="C")


def finite(x: Array, what: str) -> Floats:
    """:func:`floats` without NaN and infinities."""
    found = floats(x, what)
    bad = np.argwhere(~np.isfinite(found))
    if len(bad):
        value = found[tuple(bad[0])]
        raise EbmError(f"{what}: holds {value} at {[int(i) for i in bad[0]]}, wanted finite numbers; leave such rows out")
    return found


def taken(x: Array, what: str) -> npt.NDArray[Any]:
    """``x`` as an array of NumPy of whatever type it has."""
    if type(x) is not np.ndarray:
        x = _made(x, what)
    if x.size > _MOST:
        raise EbmError(f"{what}: has shape {list(x.shape)}, wanted at most {_MOST} numbers at a time; give it in parts")
    return x


def _made(x: Array, what: str) -> npt.NDArray[Any]:
    if hasattr(x, "__dlpack__") and not isinstance(x, np.ndarray):
        # Those who export it say what is wrong in exceptions of any kind.
        try:
            # A tensor that a gradient is recorded for gives its numbers only without it.
            x = x.detach() if getattr(x, "requires_grad", False) else x
            # A view that stands for its negative is exported with the signs of what it views.
            x = x.resolve_neg() if hasattr(x, "resolve_neg") else x
            # NumPy knows no bfloat16, float32 has all of its numbers.
            x = x.float() if str(getattr(x, "dtype", "")) == "torch.bfloat16" else x
            return np.from_dlpack(x)
        except Exception as e:
            raise EbmError(f"{what}: {e}; wanted an array or a tensor on the CPU") from e
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise EbmError(f"{what}: has masked values, wanted numbers; fill them or leave their rows out")
    try:
        return np.asarray(x)
    except Exception as e:
        raise EbmError(f"{what}: found {type(x).__name__}, wanted an array: {e}") from e


def table(x: Array, what: str) -> Floats:
    """``x`` ``(n, ...)`` as ``(n, d)``."""
    rows = floats(x, what)
    if rows.ndim < 2:
        raise EbmError(f"{what}: found shape {list(rows.shape)}, wanted (n, d): samples along the first axis")
    return rows.reshape(len(rows), int(np.prod(rows.shape[1:])))

"""What users hand in besides arrays, taken in one place: whole and other numbers, shapes, texts, paths, flags, functions.

Each function returns its argument as the compiled half reads it, or raises an :class:`EbmError` that says what was found and
what was wanted.
"""

from __future__ import annotations

import math
import operator
import os
import reprlib
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Optional

import numpy as np

from ._native import EbmError

#: The largest count of the compiled half.
_MOST = 2**63 - 1
#: Axes of a sample, their length, and the numbers of all, at most, as for `generate.shape` of a file.
_AXES = 6
_LENGTH = 1_000_000
_NUMBERS = 2**27


def shown(value: Any) -> str:
    """A value in a message: short, whatever it is."""
    try:
        text = reprlib.repr(value)
    except Exception:  # a number with too many digits, a class that cannot show itself
        text = f"of {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def refused(what: str, value: Any, wanted: str) -> EbmError:
    """The error about an argument."""
    return EbmError(f"{what}: is {shown(value)}, wanted {wanted}")


def whole(value: Any, what: str, *, least: int = 0, most: int = _MOST) -> int:
    """A whole number from ``least`` to ``most``, of Python, NumPy or whatever counts as one."""
    bounds = f"at least {least}" if most == _MOST else f"from {least} to {most}"
    try:
        # A truth value counts as 0 or 1 in Python; here it is a mistake.
        found = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except Exception:
        found = None
    if found is None or not least <= found <= most:
        raise refused(what, value, f"a whole number {bounds}")
    return found


def seed(value: Any) -> int:
    """A seed, of 64 bits."""
    return whole(value, "seed", most=2**64 - 1)


def number(value: Any, what: str) -> float:
    """A finite number; its bounds are the compiled half's to know."""
    found = math.nan
    if not isinstance(value, (bool, np.bool_, str, bytes)) and getattr(value, "ndim", 0) == 0:
        try:
            found = float(value)
        except Exception:
            found = math.nan
    if not math.isfinite(found):
        raise refused(what, value, "a finite number")
    return found


def pair(value: Any, what: str) -> list[float]:
    """Two numbers, along both axes of the plane."""
    found = several(value, what, "two numbers, such as (0.0, 1.0)", 2)
    if len(found) != 2:
        raise refused(what, value, "two numbers, such as (0.0, 1.0)")
    return [number(v, f"{what}[{i}]") for i, v in enumerate(found)]


def shape(value: Any) -> list[int]:
    """The shape of one sample: the length of each axis."""
    found = several(value, "shape", "the length of each axis of one sample, such as (2,)", _AXES)
    lengths = [whole(n, f"shape[{i}]", least=1, most=_LENGTH) for i, n in enumerate(found)]
    if math.prod(lengths) > _NUMBERS:
        raise refused("shape", lengths, f"at most {_NUMBERS} numbers a sample")
    return lengths


def several(value: Any, what: str, wanted: str, most: int) -> list[Any]:
    """The items of what has at most so many; a text or a dictionary is none."""
    if isinstance(value, (str, bytes, Mapping)):
        raise refused(what, value, wanted)
    try:
        items = iter(value)
    except TypeError:
        raise refused(what, value, wanted) from None
    found = list(islice(items, most + 1))
    if len(found) > most:
        raise EbmError(f"{what}: has more than {most} items, wanted {wanted}")
    return found


def text(value: Any, what: str, wanted: str = "a text") -> str:
    """A text that other programs can read."""
    if not isinstance(value, str):
        raise refused(what, value, wanted)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise refused(what, value, f"{wanted} of whole characters (it has half of a pair)") from None
    return str(value)


def path(value: Any, what: str) -> str:
    """A path as text."""
    try:
        found = os.fsdecode(value)
        os.fsencode(found)
    except (TypeError, ValueError):
        raise refused(what, value, "a path: text or a pathlib.Path") from None
    if "\0" in found:
        raise refused(what, value, "a path without the character 0")
    return found


def data(value: Any) -> str:
    """What says where data are: a text, or the path of a file or a folder."""
    return text(os.fspath(value) if isinstance(value, os.PathLike) else value, "data", 'a text such as "digits", or a path')


def flag(value: Any, what: str) -> bool:
    """A truth value."""
    if not isinstance(value, (bool, np.bool_)):
        raise refused(what, value, "True or False")
    return bool(value)


def function(value: Any, what: str, wanted: str = "a function") -> Callable[..., Any]:
    """Something that can be called."""
    if not callable(value):
        raise refused(what, value, wanted)
    found: Callable[..., Any] = value
    return found


def optional(take: Callable[..., Any], value: Any, *rest: Any, **more: Any) -> Optional[Any]:
    """``None`` as it is, all else by ``take``."""
    return None if value is None else take(value, *rest, **more)

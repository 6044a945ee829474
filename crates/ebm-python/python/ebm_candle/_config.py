"""Configurations: a path or a dictionary, and changes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, Union

import numpy as np

from ._native import EbmError

#: A configuration file, or what such a file says as a dictionary.
Configuration = Union[str, "os.PathLike[str]", Mapping[str, Any], None]


def plain(value: Any) -> Any:
    """``value`` without what a configuration cannot hold: ``None`` is a setting that is not made."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def as_json(value: Mapping[str, Any], what: str = "the configuration") -> str:
    """A dictionary as JSON."""
    try:
        return json.dumps(plain(value), allow_nan=False)
    except (TypeError, ValueError) as e:
        raise EbmError(f"{what}: {e}; wanted text, numbers, lists and dictionaries") from e


def changed(changes: Union[Iterable[str], Mapping[str, Any]]) -> list[str]:
    """Changes ``path=value`` as a list; a dictionary has the paths as keys, such as ``{"run.steps": 60}``."""
    if isinstance(changes, str):
        return [changes]
    if isinstance(changes, Mapping):
        return [f"{path}={_toml(value)}" for path, value in changes.items()]
    return [str(change) for change in changes]


def _toml(value: Any) -> str:
    value = plain(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value)

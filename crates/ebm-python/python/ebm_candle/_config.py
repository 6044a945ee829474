"""Configurations: a path or a dictionary, and changes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, Union

import numpy as np

from . import _arguments as take
from ._native import EbmError

#: A configuration file, or what such a file says as a dictionary.
Configuration = Union[str, "os.PathLike[str]", Mapping[str, Any], None]

#: Levels of a dictionary, and values in all, at most: no configuration has as many, and one that holds itself has no end.
_LEVELS = 64
_VALUES = 1_000_000
#: Changes at most, and what one is.
_CHANGES = 10_000
_CHANGE = 'texts such as "run.steps=60", or a dictionary such as {"run.steps": 60}'
_WANTED = "text, numbers, lists and dictionaries"


class _Plain:
    """Copies a value without what a configuration cannot hold, and counts what it copies."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.values = 0

    def of(self, value: Any, level: int = 0) -> Any:
        self.values += 1
        if level > _LEVELS:
            why = f"has more than {_LEVELS} levels of lists and dictionaries, or one that holds itself"
            raise EbmError(f"{self.what}: {why}; wanted {_WANTED} of fewer levels")
        if self.values > _VALUES:
            raise EbmError(f"{self.what}: holds more than {_VALUES} values; long lists are data: write them to a file")
        if isinstance(value, Mapping):
            # None is a setting that is not made.
            return {self.key(k): self.of(v, level + 1) for k, v in value.items() if v is not None}
        if isinstance(value, np.ndarray):
            if value.size > _VALUES:
                raise EbmError(f"{self.what}: holds an array of {value.size} values, wanted at most {_VALUES}")
            return self.of(value.tolist(), level + 1)
        if isinstance(value, (list, tuple)):
            return [self.of(v, level + 1) for v in value]
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        return value

    def key(self, key: Any) -> str:
        return take.text(key if isinstance(key, str) else take.shown(key), f"{self.what}: a name")


def as_json(value: Mapping[str, Any], what: str = "the configuration") -> str:
    """A dictionary as JSON."""
    if not isinstance(value, Mapping):
        raise take.refused(what, value, "a dictionary of settings")
    try:
        return json.dumps(_Plain(what).of(value), allow_nan=False)
    except EbmError:
        raise
    except (TypeError, ValueError) as e:
        raise EbmError(f"{what}: {e}; wanted {_WANTED}") from e


def changed(changes: Union[Iterable[str], Mapping[str, Any]]) -> list[str]:
    """Changes ``path=value`` as a list; a dictionary has the paths as keys, such as ``{"run.steps": 60}``."""
    if isinstance(changes, str):
        return [_change(changes)]
    if not isinstance(changes, Mapping):
        return [_change(change) for change in take.several(changes, "changes", _CHANGE, _CHANGES)]
    try:
        return [_change(f"{path}={_toml(value)}") for path, value in _Plain("changes").of(changes).items()]
    except EbmError:
        raise
    except (TypeError, ValueError) as e:
        raise EbmError(f"changes: {e}; wanted {_WANTED}") from e


def _change(change: Any) -> str:
    found = take.text(change, "changes", _CHANGE)
    if found.split("=", 1)[0].count(".") > _LEVELS:
        raise EbmError(f"changes: {take.shown(found)} names a setting below more than {_LEVELS} others, wanted {_CHANGE}")
    return found


def quoted(value: str) -> str:
    """A text as TOML writes it."""
    # Escapes of JSON but for characters beyond 16 bits, of which TOML knows no pairs, and for the one that it knows alone.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{quoted(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return quoted(value) if isinstance(value, str) else json.dumps(value, allow_nan=False)

"""Pictures of samples, which notebooks show."""

from __future__ import annotations

import os
from typing import Optional, Union

from . import _arguments as take
from . import _native
from ._arrays import Array, finite
from ._native import EbmError


class Picture:
    """A picture as the bytes of a png file; the last line of a notebook's cell shows it."""

    def __init__(self, png: bytes) -> None:
        self.png = png

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Writes it to a file."""
        place = take.path(path, "path")
        try:
            with open(place, "wb") as file:
                file.write(self.png)
        except OSError as e:
            raise EbmError(f"picture: cannot be written: {e}") from e

    def __repr__(self) -> str:
        return f"<picture, {len(self.png)} bytes of png>"


def picture(samples: Array, *, columns: Optional[int] = None, background: Optional[Array] = None) -> Picture:
    """A picture of samples: images ``(n, 1 or 3, h, w)`` with values in [0, 1] as a sheet, ``columns`` in a row; points
    ``(n, 2)`` as a scatter, over the grey points ``background`` ``(m, 2)``."""
    back = None if background is None else finite(background, "background")
    in_a_row = take.optional(take.whole, columns, "columns", least=1)
    return Picture(bytes(_native.png(finite(samples, "samples"), in_a_row, back)))

"""Chains of any sampler on any energy, and what their draws are worth."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional

import numpy as np
import numpy.typing as npt

from . import _arguments as take
from . import _native
from ._arrays import Array, Floats, floats
from ._config import as_json
from ._energy import Condition, Energy, asked
from ._native import EbmError


@dataclass(frozen=True)
class Chains:
    """Draws of chains."""

    x: Floats
    """Samples ``(chains, draws, ...)``."""
    stats: dict[str, npt.NDArray[np.float64]]
    """Statistics ``(chains, draws)`` by name: ``energy`` of each draw, and what its step says, such as ``accepted``."""

    @cached_property
    def summary(self) -> dict[str, npt.NDArray[np.float64]]:
        """:func:`summarise` of the coordinates of the samples."""
        return summarise(self.x)

    @property
    def ess(self) -> npt.NDArray[np.float64]:
        """Effective sample size of each coordinate, of the shape of a sample."""
        return self.summary["ess_bulk"]

    @property
    def rhat(self) -> npt.NDArray[np.float64]:
        """R-hat of each coordinate, of the shape of a sample; below 1.01 where chains agree."""
        return self.summary["rhat"]

    @property
    def flat(self) -> Floats:
        """All draws, ``(chains * draws, ...)``."""
        return self.x.reshape(-1, *self.x.shape[2:])

    def __repr__(self) -> str:
        chains, draws, *shape = self.x.shape
        return f"<{chains} chains of {draws} draws of shape {tuple(shape)}>"


def sample(
    energy: Energy,
    start: Array,
    sampler: Mapping[str, Any],
    *,
    draws: int,
    burn_in: int = 0,
    thinning: int = 1,
    seed: int = 0,
    condition: Optional[Condition] = None,
) -> Chains:
    """Runs chains from ``start`` ``(chains, ...)`` and keeps ``draws`` states of each.

    ``sampler`` is a transition by its settings, such as ``{"kind": "mala", "step_size": 0.1}``, which makes every step, or
    a whole program such as ``{"kind": "chain", "transition": {...}}``. Steps before the first draw (``burn_in``) adapt
    step sizes, which are fixed from then on; every ``thinning``-th state after is kept. The same ``seed`` gives the same
    draws. ``condition`` is that of all chains.

    Raises :class:`EbmError` if the sampler is wrong or cannot move chains of this energy, a start or a draw is not finite (in
    the precision of the energy), or there are more than 2^27 numbers to keep. Warns where a Python function gave chains NaN
    to go by.
    """
    native = asked(energy)._energy
    start = energy._samples(start, "start")
    kept: _native._Kept = {
        "draws": take.whole(draws, "draws", least=1),
        "burn_in": take.whole(burn_in, "burn_in"),
        "thinning": take.whole(thinning, "thinning", least=1),
    }
    given = energy._rows_given(condition, start)
    x, stats, remark = _native.chains(native, as_json(sampler, "the sampler"), start, kept, take.seed(seed), given)
    if remark is not None:
        warnings.warn(remark, RuntimeWarning, stacklevel=2)
    return Chains(x, stats)


def summarise(draws: Array) -> dict[str, npt.NDArray[np.float64]]:
    """Figures of draws ``(chains, draws, ...)``, each an array of the shape ``...`` of a sample (a number for scalars).

    ``mean``, its Monte Carlo standard error ``mcse``, ``ess_bulk``, ``ess_tail`` and rank-normalised split ``rhat``
    (Vehtari et al. 2021). An effective sample size is NaN where all draws are equal.
    """
    x = floats(draws, "draws")
    if x.ndim < 2:
        raise EbmError(f"draws: found shape {list(x.shape)}, wanted (chains, draws, ...)")
    shape = x.shape[2:]
    width = int(np.prod(shape))
    found = _native.summarise(np.ascontiguousarray(x.reshape(x.shape[0], x.shape[1], width)))
    return {name: value.reshape(shape) for name, value in found.items()}


def ess(draws: Array) -> npt.NDArray[np.float64]:
    """Effective sample size (bulk) of draws ``(chains, draws, ...)``, of the shape ``...``."""
    return summarise(draws)["ess_bulk"]


def rhat(draws: Array) -> npt.NDArray[np.float64]:
    """Rank-normalised split R-hat of draws ``(chains, draws, ...)``, of the shape ``...``."""
    return summarise(draws)["rhat"]

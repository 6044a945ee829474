"""Measures of arrays: distances between sets, detection of outsiders, log Z, integrals over the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from . import _arguments as take
from . import _native
from ._arrays import Array, floats, table
from ._energy import Condition, Energy, asked
from ._native import EbmError


#: Sides of a matrix of 2 GiB.
_WIDEST = 1 << 14


def frechet(a: Array, b: Array, *, ridge: float = 0.0) -> float:
    """Fréchet distance between normal fits of two sets ``(n, ...)`` and ``(m, ...)`` (Heusel et al. 2017, on the values
    themselves): ``|mean_a - mean_b|² + tr(A + B - 2 (A B)^(1/2))``, with ``ridge`` added to the variances."""
    first, second = table(a, "a"), table(b, "b")
    if max(first.shape[1], second.shape[1]) > _WIDEST:
        found = max(first.shape[1], second.shape[1])
        raise EbmError(f"frechet: found {found} numbers a sample, wanted at most {_WIDEST}: their covariances must fit in memory")
    return _native.frechet(first, second, take.number(ridge, "ridge"))


@dataclass(frozen=True)
class Mmd:
    """A maximum mean discrepancy."""

    mmd2: float
    """Unbiased MMD²; near 0, often slightly negative, for two sets from one distribution."""
    se: float
    """Its standard error by the jackknife."""
    bandwidth: float
    """Bandwidth of the Gaussian kernel."""


def mmd(a: Array, b: Array, *, bandwidth: Optional[float] = None) -> Mmd:
    """Unbiased MMD² of two sets ``(n, ...)`` and ``(m, ...)`` with the kernel ``exp(-|x - y|² / (2 bandwidth²))``
    (Gretton et al. 2012); the bandwidth is the median distance within ``a`` if none is given."""
    first, second = table(a, "a"), table(b, "b")
    if bandwidth is None and len(first) > _WIDEST:
        why = "for the median of all distances; give a bandwidth, such as that of some of them"
        raise EbmError(f"mmd: found {len(first)} rows of a, wanted at most {_WIDEST} {why}")
    return Mmd(**_native.mmd(first, second, take.optional(take.number, bandwidth, "bandwidth")))


@dataclass(frozen=True)
class Detection:
    """How well a score tells two sets apart."""

    auroc: float
    """Probability that an inside sample scores above an outside one, ties counting half."""
    aupr_in: float
    """Average precision with the inside set as positives."""
    aupr_out: float
    """The same with the outside set as positives and scores negated."""
    fpr95: float
    """Share of the outside set that is taken for inside where 95 % of the inside set are."""


def detection(inside: Array, outside: Array) -> Detection:
    """Figures of a detector from scores ``(n,)`` and ``(m,)`` that are high for the inside set: ``-E(x)`` of a model."""
    return Detection(**_native.detection(floats(inside, "inside"), floats(outside, "outside")))


@dataclass(frozen=True)
class LogZ:
    """An estimate of log Z, in nats."""

    log_z: float
    """The estimate; its expectation lies below the truth."""
    se: float
    """Standard error, of use while well below 1."""
    ess: float
    """Effective number of chains; near 1 the estimate rests on a single one."""
    interval: tuple[float, float]
    """Interval of 95 %; an end may be infinite."""
    bounds: Optional[tuple[float, float]] = None
    """Between these log Z lies, with chains of both ways."""
    contradictory: bool = False
    """Whether both ways contradict each other: the chains did not mix."""
    few: bool = False
    """Whether one way has fewer than 10 effective chains."""


def log_z(log_weights: Array, *, start: float = 0.0, reverse: Optional[Array] = None) -> LogZ:
    """log Z from log weights ``(n,)`` of annealed chains, ``sum_t (log f_(t+1) - log f_t)(x_t)`` of each (Neal 2001), and
    the log Z ``start`` of where they start. ``reverse`` are those of chains that go back from samples of the energy to the
    start; with them the result has ``bounds`` (Grosse, Ghahramani and Adams 2015)."""
    back = None if reverse is None else floats(reverse, "reverse")
    return LogZ(**_native.log_z(floats(log_weights, "log_weights"), take.number(start, "start"), back))


@dataclass(frozen=True)
class Integral:
    """The integral of a density over the plane."""

    log_z: float
    """log of the integral, in nats."""
    error: float
    """Estimated error, as a share of the mass."""
    outside: float
    """Share of the mass outside of the rectangle, extrapolated."""
    centre: tuple[float, float]
    """Centre of the rectangle that it was taken over."""
    half: tuple[float, float]
    """Half its sides."""
    cells: int
    """Cells that it was cut into."""
    points: int
    """Points that were evaluated."""


def quadrature(
    energy: Energy,
    *,
    centre: Sequence[float] = (0.0, 0.0),
    spread: Sequence[float] = (1.0, 1.0),
    places: Optional[Array] = None,
    tolerance: float = 1e-3,
    temperature: float = 1.0,
    condition: Optional[Condition] = None,
) -> Integral:
    """log Z of an energy of the plane, ``log ∫ exp(-E(x) / temperature) dx``, within about ``tolerance`` as a share.

    ``centre`` and ``spread`` (a standard deviation along each axis) say where to begin; ``places`` ``(n, 2)``, such as data,
    where narrow peaks may be. Raises :class:`EbmError` if the density cannot be normalised or resolved.
    """
    if asked(energy).shape != (2,):
        raise EbmError(f"quadrature: the energy has samples of shape {list(energy.shape)}, wanted those of the plane, [2]")
    plane: _native._Plane = {
        "centre": take.pair(centre, "centre"),
        "spread": take.pair(spread, "spread"),
        "tolerance": take.number(tolerance, "tolerance"),
        "temperature": take.number(temperature, "temperature"),
    }
    if not plane["temperature"] > 0:
        raise EbmError(f"temperature: is {temperature}, must be > 0")
    at = np.zeros(0) if places is None else np.ascontiguousarray(table(places, "places").reshape(-1), dtype=np.float64)
    given = None if condition is None else energy._given(condition, 1)
    return Integral(**_native.quadrature(energy._energy, plane, at, given))

"""What models said of a machine's life, held against how that ended, as sums that add up over lives in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.prognosis.artefacts import Model
from pipeline.core.prognosis.failure_type import NONE, FailureType, labels
from pipeline.core.prognosis.remaining_life import RemainingLife

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

HOUR_MS = 3_600_000


class EndedLife(NamedTuple):
    """A life that a maintenance record ended.

    Parameters
    ----------
    failed
        Component that failed; ``None``: it was maintained before, and nobody knows how long it would have lasted.
    ends_ms
        Ends of its n operating cycles, ms since the epoch, UTC, rising; shape (n,).
    durations_ms
        How long each was; shape (n,).
    """

    failed: str | None
    ends_ms: Times
    durations_ms: Times


class Said(NamedTuple):
    """What one model said within a life, n times.

    Parameters
    ----------
    times_ms
        Ends of the cycles it was said of, ms since the epoch, UTC; shape (n,), in any order.
    values, lower, upper
        Remaining life and its interval, in hours; shape (n,). What is not finite was not said.
    labels
        Types of failure; empty: none was said.
    """

    times_ms: Times
    values: Floats
    lower: Floats
    upper: Floats
    labels: Sequence[str]


class Sums(NamedTuple):
    """Of the predictions that said the same where the same was true: how many, and how far they were off.

    Parameters
    ----------
    truth
        ``failure`` or ``censored`` of remaining life, else the class.
    said
        The class; empty of remaining life.
    off, off_absolute, off_squares
        Sums of what was said less what was true, up to the model's horizon, h and h²; of censored ones nothing is known.
    covered
        How many intervals have the truth inside; of censored ones, how many it may yet be inside of.
    """

    truth: str
    said: str
    by_rules: str
    predictions: int
    off: float = 0.0
    off_absolute: float = 0.0
    off_squares: float = 0.0
    covered: int = 0


def judged(model: Model, said: Said, life: EndedLife) -> list[Sums]:
    """Return what there is to say about a model's words on a life; nothing of models that speak of no lives.

    What was said of a cycle that is not known (any more) is passed over, and so is the class of cycles of which it cannot be
    known: see :func:`pipeline.core.prognosis.failure_type.labels`. A failure of a component that the model does not know is
    one that it missed.

    Examples
    --------
    >>> life = EndedLife("seal", np.array([10, 20, 30]) * HOUR_MS, np.array([2, 3, 4]) * HOUR_MS)
    >>> remaining_ms(life, np.array([10, 19, 20, 30, 9]) * HOUR_MS) / HOUR_MS
    array([ 7.,  7.,  4.,  0., nan])
    """
    if isinstance(model, RemainingLife):
        return _off(said, life, model.horizon)
    return _confused(said, life, model.horizon) if isinstance(model, FailureType) else []


def remaining_ms(life: EndedLife, times_ms: Times) -> Floats:
    """Return how long the machine operated from each time to the end of the life, ms; NaN before its first cycle's end."""
    operated = np.cumsum(life.durations_ms, dtype=np.float64)
    number = np.searchsorted(life.ends_ms, times_ms, side="right") - 1
    left = np.full(len(times_ms), np.nan)
    known = number >= 0
    if known.any():
        left[known] = operated[-1] - operated[number[known]]
    return left


def _off(said: Said, life: EndedLife, horizon: float) -> list[Sums]:
    truths = remaining_ms(life, said.times_ms) / HOUR_MS
    known = np.isfinite(truths) & np.isfinite(said.values)
    count = int(known.sum())
    if not count:
        return []
    truths, points, lower, upper = (each[known] for each in (truths, said.values, said.lower, said.upper))
    if life.failed is None:
        return [Sums("censored", "", "", count, covered=int((upper >= truths).sum()))]
    off = np.minimum(points, horizon) - np.minimum(truths, horizon)
    covered = int(((lower <= truths) & (truths <= upper)).sum())
    return [
        Sums("failure", "", "", count, float(off.sum()), float(np.abs(off).sum()), float((off * off).sum()), covered)
    ]


def _confused(said: Said, life: EndedLife, horizon: int) -> list[Sums]:
    classes = labels(len(life.ends_ms), NONE if life.failed is None else 1, horizon)
    numbers = np.searchsorted(life.ends_ms, said.times_ms, side="right") - 1
    found: Counter[tuple[str, str]] = Counter()
    for number, label in zip(numbers.tolist(), said.labels, strict=True):
        if number >= 0 and classes[number] >= NONE and label:
            found["none" if classes[number] == NONE else life.failed or "", label] += 1
    return [Sums(truth, label, "", count) for (truth, label), count in sorted(found.items())]

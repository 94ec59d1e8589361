"""The family of detectors: a case for each, which the laws of ``test_laws.py`` are checked for.

Whoever adds a detector adds a case. Kernels are wrapped in functions of rows by :func:`on_rows`, for a record by itself
exists in kernels only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from river import base

from pipeline.core.detectors import changes, mixture, novelty, stuck
from pipeline.core.detectors.machine_detector import MultivariateDetector
from pipeline.core.detectors.multivariate import MultivariateRules
from pipeline.core.spikes import SpikeDetector

Sample = dict[str, float]
Rows = npt.NDArray[Any]

PERIOD_MS = 5_000


@dataclass(frozen=True, slots=True)
class Kernels:
    """A detector's record, rules and kernels; these as :func:`on_rows` gives them."""

    state: np.dtype[Any]
    rules: Any
    score: Callable[..., None]
    learn: Callable[..., None]
    observe: Callable[..., None]


@dataclass(frozen=True, slots=True)
class Case:
    """One detector.

    ``make`` makes its River view and ``usual`` a number of samples to warm up on; after ``repeated`` times ``unusual`` the
    score must be high. A view that does not tolerate missing or infinite readings leaves them to the pipeline to refuse.
    """

    name: str
    make: Callable[[], base.AnomalyDetector]
    usual: Callable[[int], Iterable[Sample]]
    unusual: Sample
    repeated: int
    kernels: Kernels | None = None
    tolerates_missing: bool = True


def one_sensor(count: int, seed: int = 3) -> list[Sample]:
    """Readings of one sensor, with a spike now and then."""
    random = np.random.default_rng(seed)
    values = random.normal(55.0, 2.4, count)
    values[random.random(count) < 0.03] *= 1.8
    return [{"temperature": float(value)} for value in values]


def two_sensors(count: int, seed: int = 3) -> list[Sample]:
    """Readings of two sensors of a machine that go together."""
    random = np.random.default_rng(seed)
    common = random.normal(size=count)
    own = random.normal(size=(2, count))
    return [
        {"temperature": float(55.0 + 2.4 * (c + 0.2 * a)), "pressure": float(7539.0 + 14.0 * (c + 0.2 * b))}
        for c, a, b in zip(common, *own, strict=True)
    ]


def on_rows(score: Any, learn: Any, observe: Any) -> tuple[Any, Any, Any]:
    """Return the kernels as functions of (rows, rules, times_ms, values, scores) that work on the first row.

    All readings are worked through, and ``scores`` is filled. The one that learns scores each reading before.
    """

    @njit
    def score_rows(rows, rules, times_ms, values, scores):
        for i in range(len(values)):
            scores[i] = score(rows[0], rules, times_ms[i], values[i])[0]

    @njit
    def learn_rows(rows, rules, times_ms, values, scores):
        for i in range(len(values)):
            scores[i] = score(rows[0], rules, times_ms[i], values[i])[0]
            learn(rows[0], rules, times_ms[i], values[i])

    @njit
    def observe_rows(rows, rules, times_ms, values, scores):
        for i in range(len(values)):
            scores[i] = observe(rows[0], rules, times_ms[i], values[i])[0]

    return score_rows, learn_rows, observe_rows


CASES = [
    Case(
        "multivariate", lambda: MultivariateDetector(MultivariateRules(warm_up=100)), two_sensors,
        {"temperature": 58.0, "pressure": 7520.0}, 10,
        # What is missing keeps what is known of it: no reading is no silence
        tolerates_missing=False,
    ),
    Case("spikes", SpikeDetector, one_sensor, {"temperature": 99.0}, 1, tolerates_missing=False),
    Case(
        "changes", changes.ChangeDetector, one_sensor, {"temperature": 65.0}, 10,
        Kernels(
            changes.STATE, changes.ChangeRules(),
            *on_rows(changes.change_score, changes.change_learn, changes.change_observe),
        ),
    ),
    Case(
        "mixture", mixture.MixtureDetector, one_sensor, {"temperature": 99.0}, 1,
        Kernels(
            mixture.STATE, mixture.MixtureRules(),
            *on_rows(mixture.mixture_score, mixture.mixture_learn, mixture.mixture_observe),
        ),
    ),
    Case(
        "stuck", stuck.StuckDetector, one_sensor, {"temperature": 55.0}, 10,
        Kernels(stuck.STATE, stuck.StuckRules(), *on_rows(stuck.stuck_score, stuck.stuck_learn, stuck.stuck_observe)),
    ),
    Case(
        "novelty", novelty.NoveltyDetector, one_sensor, {"temperature": 400.0}, 1,
        Kernels(
            novelty.STATE, novelty.NoveltyRules(),
            *on_rows(novelty.novelty_score, novelty.novelty_learn, novelty.novelty_observe),
        ),
    ),
]  # fmt: skip
"""All detectors."""

"""The machine's kernels behind River's interface: one row of state, sensors by their names."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from river import base

from pipeline.core.detectors.multivariate import (
    STATE,
    WIDTH,
    MultivariateRules,
    multivariate_learn,
    multivariate_score,
    shift_score,
)

TIME = "time_ms"
"""The feature that is no sensor but the event time, ms since the epoch, UTC."""

_RULES = MultivariateRules()


class MultivariateDetector(base.AnomalyDetector):
    """Faults that show in the sensors of one machine together, as a River estimator.

    Readings are standardised, smoothed exponentially and weighed by what they normally vary by together: Hotelling's T² of
    a multivariate EWMA (Lowry et al. 1992). Each sensor may be within its usual range where their combination is not. What
    is normal is learned while warming up and afterwards only while the machine is quiet; a lasting new regime is accepted
    in the end. The score is the number of decimal places of the χ² tail: ≥ 0 and without an upper limit.

    It fails where the warm-up is not typical of normal running (a machine that starts cold, or in one of several modes), on
    sensors that carry mostly drift (they are left out; with nothing else the score stays 0), and on spikes shorter than its
    smoothing. The first eight sensors by order of first sight are watched, others are ignored; so is a reading that is no
    finite number. Sensors that report in different messages are taken as uncorrelated.

    Parameters
    ----------
    rules
        See :class:`~pipeline.core.detectors.machine_state.MultivariateRules`.

    Examples
    --------
    Pressure follows the flow; then it no longer does, though it stays within its range:

    >>> detector = MultivariateDetector(MultivariateRules(warm_up=200))
    >>> for n in range(200):
    ...     wave = (n * 37 % 100) / 100
    ...     detector.learn_one({"flow": wave, "pressure": 2 * wave + (n * 53 % 10) / 100})
    >>> detector.score_one({"flow": 0.4, "pressure": 0.85}) < 1.0
    True
    >>> for n in range(20):
    ...     detector.learn_one({"flow": 0.9, "pressure": 0.4})
    >>> detector.score_one({"flow": 0.9, "pressure": 0.4}) > 10.0
    True
    """

    def __init__(self, rules: MultivariateRules = _RULES) -> None:
        self.rules = rules
        self._row = np.zeros(1, STATE)
        self._columns: dict[base.typing.FeatureName, int] = {}

    def _message(
        self, x: Mapping[base.typing.FeatureName, float]
    ) -> tuple[int, npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return (event time, readings, which are there) of the sensors that have a column; without a time, the newest."""
        values, present = np.zeros(WIDTH), np.zeros(WIDTH, np.bool_)
        for name, column in self._columns.items():
            value = x.get(name, math.nan)
            if math.isfinite(value):
                values[column], present[column] = value, True
        return int(x.get(TIME, self._row[0]["last_ms"])), values, present

    def score_one(self, x: Mapping[base.typing.FeatureName, float]) -> float:
        """Return how improbable a message is that was not learned yet, in decimal places."""
        return float(multivariate_score(self._row[0], self.rules, *self._message(x))[0])

    def learn_one(self, x: Mapping[base.typing.FeatureName, float]) -> None:
        """Learn a message; a name that was never seen becomes a sensor while there is room."""
        for name in x:
            if name != TIME and len(self._columns) < WIDTH:
                self._columns.setdefault(name, len(self._columns))
        multivariate_learn(self._row[0], self.rules, *self._message(x))


class MachineShiftDetector(MultivariateDetector):
    """Moments at which a machine moves from its recent past, the onset of a fault as well as the return, likewise.

    It knows and learns the same as :class:`MultivariateDetector`; its score tells a change, not a state: a lasting fault
    falls silent as its recent past takes it in. It fails on changes slower than ``reference``.

    Parameters
    ----------
    rules
        See :class:`~pipeline.core.detectors.machine_state.MultivariateRules`.

    Examples
    --------
    >>> detector = MachineShiftDetector(MultivariateRules(warm_up=200))
    >>> for n in range(200):
    ...     detector.learn_one({"flow": n * 37 % 10, "pressure": n * 53 % 10})
    >>> for n in range(10):
    ...     detector.learn_one({"flow": 20 + n * 37 % 10, "pressure": n * 53 % 10})
    >>> onset = detector.score_one({"flow": 24, "pressure": 5})
    >>> for n in range(200):
    ...     detector.learn_one({"flow": 20 + n * 37 % 10, "pressure": n * 53 % 10})
    >>> onset > 10.0 > 1.0 > detector.score_one({"flow": 24, "pressure": 5})
    True
    """

    def score_one(self, x: Mapping[base.typing.FeatureName, float]) -> float:
        """Return how improbable the move is that a message, not learned yet, completes; in decimal places."""
        return float(shift_score(self._row[0], self.rules, *self._message(x))[0])

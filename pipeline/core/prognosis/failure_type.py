"""Which mode a machine fails in within its next operating cycles, if it does: multinomial logistic regression.

A row is what is known of a machine when a cycle is closed; its class is ``none``, or the mode of a failure in one of the next
:data:`HORIZON` cycles. Each mode has a score against none that is linear in the features; probabilities follow from these. A
mode is expected if its probability reaches its threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import uncounted
from pipeline.core.prognosis import checked
from pipeline.core.prognosis.features import computed, feature_names

HORIZON = 7
"""How many operating cycles ahead a failure is looked for."""

NONE, UNKNOWN = 0, -1
"""Classes beside the modes, which count from 1: no failure within the horizon; nothing can be said."""

FARTHEST = 20.0
"""What is further off its center counts as so far, in scales: no reading, however huge, makes a score overflow."""

Rows = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


def default_features(sensors: Sequence[str]) -> tuple[str, ...]:
    """Return what the model looks at: of each sensor the newest cycle's mean and maximum, and the mean of about five.

    Examples
    --------
    >>> default_features(["speed"])
    ('speed.last', 'speed.last_max', 'speed.quick')
    """
    return feature_names(sensors, ("last", "last_max", "quick"))


def labels(cycles: int, ended_by: int, horizon: int = HORIZON) -> Classes:
    """Return the class of each closed cycle of a life, as far as it can be known.

    Parameters
    ----------
    cycles
        Closed ones, with the last; ≥ 0.
    ended_by
        Mode of the failure, from 1 on, or :data:`UNKNOWN` for one in no mode of the model: the last cycle is the one in which
        it failed, and nothing was to be said any more when that was closed. :data:`NONE`: the machine still runs, or
        maintenance came first; nobody knows whether it would have failed within the cycles that were not to be.
    horizon
        Cycles; ≥ 1.

    Examples
    --------
    >>> labels(6, 2, horizon=3).tolist(), labels(6, NONE, horizon=3).tolist()
    ([0, 0, 2, 2, 2, -1], [0, 0, 0, -1, -1, -1])
    """
    left = np.arange(cycles - 1, -1, -1)
    if ended_by == NONE:
        return np.where(left < horizon, UNKNOWN, NONE)
    return np.where(left == 0, UNKNOWN, np.where(left <= horizon, ended_by, NONE))


class Parameters(NamedTuple):
    """All that probabilities are computed from, and what they are held against.

    Parameters
    ----------
    center, scale
        What features are standardised by, in their units; shape (features,); scales > 0.
    coefficients
        Of each mode's score: constant, then standardised features; shape (modes, 1 + features).
    thresholds
        Probability from which on a mode is expected; shape (modes,), in (0, 1].
    """

    center: Rows
    scale: Rows
    coefficients: Rows
    thresholds: Rows


@uncounted
def probabilities(parameters: Any, row: Any, out: Any) -> None:
    """Write the probabilities of none and of each mode.

    Parameters
    ----------
    parameters
        :class:`Parameters`.
    row
        Features, each in its unit; shape (features,). One that is not finite makes all probabilities NaN.
    out
        Shape (1 + modes,); changed.
    """
    out[0] = 0.0
    highest = 0.0
    for mode in range(len(parameters.coefficients)):
        score = parameters.coefficients[mode, 0]
        for i in range(len(row)):
            if not math.isfinite(row[i]):
                out[:] = math.nan
                return
            z = (row[i] - parameters.center[i]) / parameters.scale[i]
            score += parameters.coefficients[mode, 1 + i] * min(max(z, -FARTHEST), FARTHEST)
        out[1 + mode] = score
        highest = max(highest, score)
    total = 0.0
    for c in range(len(out)):
        out[c] = math.exp(out[c] - highest)
        total += out[c]
    for c in range(len(out)):
        out[c] /= total


@uncounted
def chosen(thresholds: Any, found: Any) -> int:
    """Return the class of one row of probabilities: the mode that is furthest above its threshold by ratio, or none.

    Parameters
    ----------
    thresholds
        Shape (modes,).
    found
        From :func:`probabilities`; NaN is :data:`UNKNOWN`.
    """
    if math.isnan(found[0]):
        return -1
    best, most = 0, 1.0
    for mode in range(len(thresholds)):
        ratio = found[1 + mode] / thresholds[mode]
        if ratio >= most:
            best, most = 1 + mode, ratio
    return best


@uncounted
def _predict_rows(parameters: Any, rows: Any, out: Any) -> None:
    for n in range(len(rows)):
        probabilities(parameters, rows[n], out[n])


@uncounted
def _choose_rows(thresholds: Any, found: Any, out: Any) -> None:
    for n in range(len(found)):
        out[n] = chosen(thresholds, found[n])


def predictions(parameters: Parameters, rows: Rows) -> Rows:
    """Return the probabilities of rows, shape (n, features); one row of shape (1 + modes,) for each."""
    out = np.empty((len(rows), 1 + len(parameters.coefficients)))
    _predict_rows(parameters, rows, out)
    return out


class FailureType:
    """Failure type of machines of one type; never changes.

    It answers NaN where a feature is missing, and imputes nothing. It knows only the modes that it was taught: a machine that
    fails in another way is not seen coming.

    Parameters
    ----------
    features
        What it wants to be given, in this order.
    modes
        Their names, in the order of their probabilities.
    horizon
        How many operating cycles ahead it looks.
    parameters
        What it computes with.

    Examples
    --------
    >>> parts = Parameters(np.array([5.0]), np.array([1.0]), np.array([[-1.0, -2.0]]), np.array([0.4]))
    >>> model = FailureType(["oil.last"], ["leak"], 7, parts)
    >>> found = model.predict(np.array([[5.0], [3.0], [np.nan]]))
    >>> found.round(2).tolist(), model.choose(found).tolist()
    ([[0.73, 0.27], [0.05, 0.95], [nan, nan]], [0, 1, -1])
    """

    kind: ClassVar[str] = "failure_type"

    def __init__(self, features: Sequence[str], modes: Sequence[str], horizon: int, parameters: Parameters) -> None:
        self.features, self.modes, self.horizon = tuple(features), tuple(modes), horizon
        self.parameters = parameters

    def predict(self, rows: Rows) -> Rows:
        """Return the probabilities of none and of each mode.

        Parameters
        ----------
        rows
            Shape (n, features).

        Returns
        -------
        Shape (n, 1 + modes), each row with the sum 1; all NaN where a feature is not finite.

        Raises
        ------
        ValueError
            If they have another shape.
        """
        return predictions(self.parameters, checked.rows(rows, len(self.features)))

    def choose(self, found: Rows) -> Classes:
        """Return the class of each row of probabilities, which are from :meth:`predict`; see :func:`chosen`."""
        out = np.empty(len(found), np.int64)
        _choose_rows(self.parameters.thresholds, found, out)
        return out

    def to_arrays(self) -> dict[str, Any]:
        """Return the model as plain arrays, numbers and names."""
        named = {"features": list(self.features), "modes": list(self.modes), "horizon": self.horizon}
        return named | self.parameters._asdict()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Return the model that :meth:`to_arrays` described; raises :class:`ValueError` if there is none."""
        features, modes = computed(checked.names(arrays, "features")), checked.names(arrays, "modes")
        horizon = int(checked.number(arrays, "horizon", 1, 1_000_000))
        return cls(features, modes, horizon, read_parameters(arrays, len(features), len(modes)))


def read_parameters(arrays: Mapping[str, Any], features: int, modes: int) -> Parameters:
    """Return stored parameters for so many features and modes; raises :class:`ValueError` if they are none."""
    center, scale = (checked.array(arrays, name, (features,)) for name in ("center", "scale"))
    coefficients = checked.array(arrays, "coefficients", (modes, 1 + features))
    thresholds = checked.array(arrays, "thresholds", (modes,))
    if (scale <= 0.0).any():
        raise ValueError("scale has a number that is not above 0")
    if (thresholds <= 0.0).any() or (thresholds > 1.0).any():
        raise ValueError("thresholds has a number that is not within (0, 1]")
    return Parameters(center, scale, coefficients, thresholds)

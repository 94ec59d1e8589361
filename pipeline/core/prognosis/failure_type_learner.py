"""Learns failure types, one life at a time; each row is judged by the model from before it is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from pipeline.core.prognosis import checked
from pipeline.core.prognosis.failure_type import (
    FARTHEST,
    HORIZON,
    NONE,
    Classes,
    FailureType,
    Parameters,
    Rows,
    predictions,
    read_parameters,
)
from pipeline.core.prognosis.features import FEATURE_VERSION
from pipeline.core.prognosis.logistic import fit
from pipeline.core.prognosis.newest_rows import NewestRows

SCHEMA_VERSION = 1
"""Of what :meth:`FailureTypeLearner.to_arrays` gives."""

RIDGE = 0.1
"""What squared coefficients of standardised features cost."""

ROOM_FOR_NONE, ROOM_FOR_MODE, ROOM_FOR_JUDGED = 8_192, 1_024, 16_384
"""Newest rows that are kept: of class none, of each mode, and of judged ones with their probabilities."""

UNTRIED = 1.0
"""Threshold of a mode of which fewer than :data:`LEAST_JUDGED` rows were judged: only what is certain is told."""

LEAST_JUDGED = 21
"""Rows of three failures at the default horizon. Thresholds from fewer told many failures that were none."""

OUTLYING = 0.005
"""Share of rows on either side that scales are not made from."""

_NEVER = -30.0
"""Constant of a mode that was not seen yet: odds of e⁻³⁰."""

_LARGEST = 2**53


class FailureTypeLearner:
    """Learns from rows whose class is known by now; state does not grow, nor does the cost of a life.

    The newest rows of each class are kept, and count as often as rows of their class were seen; with every row of a mode the
    model is fitted to them anew. However seldom machines fail, classes are not balanced: a threshold for each mode does what
    weights would do, and leaves probabilities true. It is the one with the best F1 on rows that were judged before they were
    learned, so by models that did not know them; before three failures of a mode were judged, that mode is not told.

    Parameters
    ----------
    features
        Names, in the order of the rows.
    modes
        Names of the modes; they count from 1 in this order.
    horizon
        Operating cycles that the classes look ahead; ≥ 1.
    ridge
        As :data:`RIDGE`.

    Examples
    --------
    >>> learner = FailureTypeLearner(["oil.last"], ["leak"])
    >>> for life in range(20):
    ...     before = learner.learn(np.arange(40.0, 0.0, -1.0)[:, None] + life % 3, np.repeat([0, 1], [33, 7]))
    >>> model = learner.model()
    >>> model.choose(model.predict(np.array([[30.0], [2.0]]))).tolist(), before.argmax(axis=1)[[0, 39]].tolist()
    ([0, 1], [0, 1])
    """

    def __init__(
        self, features: Sequence[str], modes: Sequence[str], *, horizon: int = HORIZON, ridge: float = RIDGE
    ) -> None:
        self.features, self.modes, self.horizon, self.ridge = tuple(features), tuple(modes), horizon, ridge
        width = len(self.features)
        rooms = (ROOM_FOR_NONE, *(ROOM_FOR_MODE for _ in self.modes))
        self._kept = [NewestRows(room, width) for room in rooms]
        # Judged rows: probabilities, and the class that it was in the end
        self._judged = NewestRows(ROOM_FOR_JUDGED, len(rooms) + 1)
        self._parameters: Parameters | None = None

    def learn(self, rows: Rows, classes: Classes) -> Rows:
        """Learn rows; return the probabilities that the model gave them before.

        Parameters
        ----------
        rows
            Features, shape (n, features); rows with one that is not finite are not learned.
        classes
            From :func:`pipeline.core.prognosis.failure_type.labels`, shape (n,); rows whose class is unknown are not learned.

        Returns
        -------
        Shape (n, 1 + modes); NaN as long as no failure was learned.

        Raises
        ------
        ValueError
            If shapes do not match, or there is no such class.
        """
        rows, classes = checked.rows(rows, len(self.features)), np.array(classes, np.int64)
        if classes.shape != (len(rows),) or not ((classes >= -1) & (classes <= len(self.modes))).all():
            raise ValueError(f"classes are {len(rows)} whole numbers from -1 to {len(self.modes)}")
        before = np.full((len(rows), 1 + len(self.modes)), np.nan)
        if self._parameters is not None:
            before = predictions(self._parameters, rows)
        known = (classes >= NONE) & np.isfinite(rows).all(axis=1)
        if self._parameters is not None:
            self._judged.take(np.column_stack([before, classes])[known])
        for each, kept in enumerate(self._kept):
            kept.take(rows[known & (classes == each)])
        if (classes[known] > NONE).any():
            self._parameters = self._fitted()
        return before

    def _fitted(self) -> Parameters:
        seen = [each for each, kept in enumerate(self._kept) if kept.seen]
        rows = np.concatenate([self._kept[each].rows() for each in seen])
        counts = [self._kept[each].used for each in seen]
        often = np.repeat([self._kept[each].seen / self._kept[each].used for each in seen], counts)
        center, scale = _standard(rows, often)
        standard = np.clip((rows - center) / scale, -FARTHEST, FARTHEST)
        modes = [each for each in seen if each != NONE]
        numbers = np.searchsorted(modes, np.repeat(seen, counts), side="right")
        found = fit(np.column_stack([np.ones(len(rows)), standard]), numbers, often, len(modes), self.ridge)
        coefficients = np.zeros((len(self.modes), 1 + len(self.features)))
        coefficients[:, 0] = _NEVER
        coefficients[np.array(modes) - 1] = found
        return Parameters(center, scale, coefficients, self._thresholds())

    def _thresholds(self) -> Rows:
        judged = self._judged.rows()
        modes = range(1, 1 + len(self.modes))
        return np.array([best_threshold(judged[:, mode], judged[:, -1] == mode) for mode in modes])

    def model(self) -> FailureType:
        """Return what was learned so far; raises :class:`ValueError` before the first failure."""
        if self._parameters is None:
            raise ValueError("no machine has failed in a mode of the model, so that there is nothing to learn from")
        return FailureType(self.features, self.modes, self.horizon, self._parameters)

    def to_arrays(self) -> dict[str, Any]:
        """Return all that was learned, to go on later, as plain arrays, numbers and names."""
        kept = {f"class_{each}": rows for each, rows in enumerate(self._kept)}
        return {
            "schema_version": SCHEMA_VERSION,
            "feature_version": FEATURE_VERSION,
            "features": list(self.features),
            "modes": list(self.modes),
            "horizon": self.horizon,
            "ridge": self.ridge,
            **{f"{name}_rows": rows.rows() for name, rows in kept.items()},
            **{f"{name}_seen": rows.seen for name, rows in kept.items()},
            "judged_rows": self._judged.rows(),
            "judged_seen": self._judged.seen,
            **({} if self._parameters is None else self._parameters._asdict()),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Return the learner that :meth:`to_arrays` described; raises :class:`ValueError` if it is none of this version."""
        for name, version in (("schema_version", SCHEMA_VERSION), ("feature_version", FEATURE_VERSION)):
            if arrays.get(name) != version:
                raise ValueError(f"the learner has {name} {arrays.get(name)!r}, not {version}: train it anew")
        features, modes = checked.names(arrays, "features"), checked.names(arrays, "modes")
        horizon = int(checked.number(arrays, "horizon", 1, 1_000_000))
        made = cls(features, modes, horizon=horizon, ridge=checked.number(arrays, "ridge", 1e-12, 1e12))
        named = {f"class_{each}": kept for each, kept in enumerate(made._kept)} | {"judged": made._judged}
        for name, kept in named.items():
            rows = checked.array(arrays, f"{name}_rows", (-1, kept.width))
            kept.load(rows, int(checked.number(arrays, f"{name}_seen", 0, _LARGEST)))
        if "coefficients" in arrays:
            made._parameters = read_parameters(arrays, len(features), len(modes))
        return made


def _standard(rows: Rows, often: Rows) -> tuple[Rows, Rows]:
    """Return centers and scales of features; the few that are furthest off have no say."""
    low = np.quantile(rows, OUTLYING, axis=0, method="higher")
    bounded = np.clip(rows, low, np.quantile(rows, 1.0 - OUTLYING, axis=0, method="lower"))
    center = np.average(bounded, axis=0, weights=often)
    scale = np.sqrt(np.average((bounded - center) ** 2, axis=0, weights=often))
    # What never changes has no scale of its own
    return center, np.maximum(scale, 1e-9 * np.abs(center) + 1e-12)


def best_threshold(found: Rows, is_mode: Any) -> float:
    """Return the threshold of a mode with the best F1; :data:`UNTRIED` if too few rows were of that mode.

    Parameters
    ----------
    found
        Its probabilities, shape (n,).
    is_mode
        Whether it was that mode, shape (n,).

    Examples
    --------
    >>> best_threshold(np.linspace(0.0, 1.0, 101), np.arange(101) >= 40)
    0.4
    """
    positives = int(np.count_nonzero(is_mode))
    if positives < LEAST_JUDGED:
        return UNTRIED
    order = np.argsort(-found, kind="stable")
    hits, told = np.cumsum(is_mode[order]), np.arange(1, len(found) + 1)
    # A threshold tells all rows of the same probability, or none of them
    ends = np.append(np.diff(found[order]) < 0.0, True)
    f1 = np.where(ends, 2.0 * hits / (told + positives), 0.0)
    return float(min(max(found[order][int(np.argmax(f1))], 1e-9), 1.0))

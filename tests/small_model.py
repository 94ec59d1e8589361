"""A model that is as small as one can be, for tests of what is done with models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.artefacts import KnownModels


class Line:
    """A weighted sum of features."""

    kind: ClassVar[str] = "line"

    def __init__(self, weights: np.ndarray, features: tuple[str, ...] = ("age",)) -> None:
        self.weights, self._features = weights, features

    @property
    def features(self) -> tuple[str, ...]:
        return self._features

    def to_arrays(self) -> dict[str, Any]:
        return {"weights": self.weights, "features": list(self.features), "loss": 0.5, "rows": 7, "name": "line"}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        weights = arrays["weights"]
        if weights.shape != (len(arrays["features"]),) or not np.isfinite(weights).all():
            raise ValueError("there is not one finite weight for each feature")
        return cls(weights, tuple(arrays["features"]))


KNOWN = KnownModels({"line": Line}, frozenset({1}))


def line(weight: float, feature_version: int = 1) -> bytes:
    """Return a model that is told by its weight, as an artefact."""
    return artefacts.encode(Line(np.array([weight])), feature_version)

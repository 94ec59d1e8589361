"""The kinds of models that there are, how one is read from its artefact, and how each answers."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.artefacts import KnownModels, Model
from pipeline.core.prognosis.features import FEATURE_VERSION
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.core.prognosis.model import Answers, Rows
from pipeline.core.prognosis.remaining_life import RemainingLife

MAINTENANCE_CLASS = MaintenanceClassModel.kind

KNOWN = KnownModels(
    kinds=MappingProxyType({each.kind: each for each in (RemainingLife, MaintenanceClassModel)}),
    feature_versions=frozenset({FEATURE_VERSION}),
)
"""What this program can work with."""


def read(artefact: bytes, sha256: str) -> Model:
    """Return a model; raises :class:`pipeline.core.errors.ModelRefused` if it is not what was stored, or not known."""
    return artefacts.load(artefact, sha256, KNOWN)


def answer(model: Model, rows: Rows) -> Answers:
    """Return what a model says of rows of its features, shape (n, features)."""
    if isinstance(model, MaintenanceClassModel):
        found = model.predict(rows)
        labels = [str(each) if each >= 0 else "" for each in found.classes.tolist()]
        return Answers(labels, found.chances, found.chances, found.chances)
    if isinstance(model, RemainingLife):
        return Answers([""] * len(rows), *model.predict(rows))
    nothing = np.full(len(rows), np.nan)
    return Answers([""] * len(rows), nothing, nothing, nothing)

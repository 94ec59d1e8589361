"""The kinds of models that there are, how one is read from its artefact, and how each answers."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.artefacts import KnownModels, Loaded, Model
from pipeline.core.prognosis.failure_type import FailureType
from pipeline.core.prognosis.features import FEATURE_VERSION
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.core.prognosis.model import Answers, Rows
from pipeline.core.prognosis.remaining_life import RemainingLife
from pipeline.core.prognosis.witness import Witness

MAINTENANCE_CLASS = MaintenanceClassModel.kind

KNOWN = KnownModels(
    kinds=MappingProxyType({each.kind: each for each in (RemainingLife, FailureType, MaintenanceClassModel)}),
    feature_versions=frozenset({FEATURE_VERSION}),
)
"""What this program can work with."""


def read(artefact: bytes, sha256: str) -> Loaded:
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
    if isinstance(model, FailureType):
        return _likeliest(model, rows)
    if isinstance(model, Witness):
        nothing = np.zeros(len(rows))
        return Answers([""] * len(rows), nothing, nothing, nothing)
    raise TypeError(f"no answer of a {model.kind} model is known")


def _likeliest(model: FailureType, rows: Rows) -> Answers:
    found = model.predict(rows)
    classes = model.choose(found)
    names = ("none", *model.modes)
    chances = np.where(classes >= 0, found[np.arange(len(rows)), classes], np.nan)
    return Answers([names[each] if each >= 0 else "" for each in classes.tolist()], chances, chances, chances)

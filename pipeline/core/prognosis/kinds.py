"""The kinds of models that there are, and how one is read from its artefact."""

from __future__ import annotations

from typing import cast

from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.artefacts import KnownModels
from pipeline.core.prognosis.features import FEATURE_VERSION
from pipeline.core.prognosis.model import Model

OF_CYCLES = frozenset({"remaining_life", "failure_type"})
"""Kinds that are asked when an operating cycle has ended, by the features of its machine's life."""

KNOWN = KnownModels({}, frozenset({FEATURE_VERSION}))
"""What this program can work with."""


def read(artefact: bytes, sha256: str) -> Model:
    """Return a model; raises :class:`pipeline.core.errors.ModelRefused` if it is not what was stored, or not known."""
    return cast(Model, artefacts.load(artefact, sha256, KNOWN))

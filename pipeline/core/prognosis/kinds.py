"""The kinds of models that this program can work with."""

from __future__ import annotations

from types import MappingProxyType

from pipeline.core.prognosis.artefacts import KnownModels
from pipeline.core.prognosis.features import FEATURE_VERSION

KNOWN = KnownModels(kinds=MappingProxyType({}), feature_versions=frozenset({FEATURE_VERSION}))
"""Classes by kind, and the features that are computed."""

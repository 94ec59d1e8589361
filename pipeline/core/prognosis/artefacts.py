"""Models as bytes: plain arrays beneath a version, with a hash over the bytes that are stored.

Whoever loads one checks the hash first, then whether this program knows the schema, the kind and the features, and then lets
the kind judge its arrays. Nothing in an artefact is ever executed.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import msgspec

from pipeline.core.arrays import from_plain, to_plain
from pipeline.core.errors import ModelRefused

SCHEMA_VERSION = 1
"""Of the bytes; grows when an older program could not read them."""

MAX_BYTES = 2**24
"""Largest model before compression, bytes: every partition of a group holds its own copy of those in force."""

_LEVEL = 6  # of zlib; parameters that were learned hardly compress, trees and names do


class Model(Protocol):
    """What every kind of model is; it never changes after it was made."""

    kind: ClassVar[str]
    """What it predicts."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features it takes, in this order."""

    def to_arrays(self) -> Mapping[str, Any]:
        """Return arrays, text, numbers and lists of these by name."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], /) -> Self:
        """Return the model of which :meth:`to_arrays` gave these; raises :class:`ValueError` if there is none."""


class KnownModels(NamedTuple):
    """Which models a program can work with.

    Parameters
    ----------
    kinds
        Classes by the name of their kind.
    feature_versions
        Versions of the features that it computes.
    """

    kinds: Mapping[str, type[Model]]
    feature_versions: frozenset[int]


class Loaded(NamedTuple):
    """A model, and the version of the features that it was learned from."""

    model: Model
    feature_version: int


class _Schema(msgspec.Struct, frozen=True):
    schema: int


class _Artefact(_Schema, frozen=True):
    kind: str
    feature_version: int
    model: dict[str, Any]


def encode(model: Model, feature_version: int) -> bytes:
    """Return a model as bytes; the same model gives the same bytes.

    Parameters
    ----------
    feature_version
        Of the features that it was learned from.

    Raises
    ------
    ModelRefused
        If it is larger than :data:`MAX_BYTES`.
    """
    artefact = _Artefact(SCHEMA_VERSION, model.kind, feature_version, to_plain(model.to_arrays()))
    raw = msgspec.msgpack.encode(artefact)
    if len(raw) > MAX_BYTES:
        raise ModelRefused(
            f"the {model.kind} model has {len(raw):,} bytes, {MAX_BYTES:,} are the most: learn a smaller one"
        )
    return zlib.compress(raw, _LEVEL)


def digest(stored: bytes) -> str:
    """Return the SHA-256 of an artefact, in hexadecimal.

    Examples
    --------
    >>> digest(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(stored).hexdigest()


def require_whole(stored: bytes, sha256: str) -> None:
    """Check that an artefact is the one whose hash was noted; raises :class:`ModelRefused`."""
    found = digest(stored)
    if found != sha256:
        raise ModelRefused(
            f"the artefact is damaged: its SHA-256 is {found[:12]}… and was {sha256[:12]}… when it was stored; import it again"
            " from a whole file, or use another version"
        )


def load(stored: bytes, sha256: str, known: KnownModels) -> Loaded:
    """Return what :func:`encode` made bytes of.

    Parameters
    ----------
    sha256
        What :func:`digest` said when it was stored.

    Raises
    ------
    ModelRefused
        If the bytes are others, or nothing that this program knows; the text says what to do.
    """
    require_whole(stored, sha256)
    found = _decoded(stored)
    if found.kind not in known.kinds:
        names = ", ".join(sorted(known.kinds)) or "none"
        raise ModelRefused(f"models of the kind {found.kind!r} are not known (known: {names}): update this program")
    if found.feature_version not in known.feature_versions:
        versions = ", ".join(map(str, sorted(known.feature_versions)))
        raise ModelRefused(
            f"the model takes features of version {found.feature_version}, computed are those of {versions}: train it anew, or"
            " update this program"
        )
    try:
        model = known.kinds[found.kind].from_arrays(from_plain(found.model))
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelRefused(f"the artefact is no {found.kind} model: {reason}; train it anew") from error
    return Loaded(model, found.feature_version)


def _decoded(stored: bytes) -> _Artefact:
    unpacking = zlib.decompressobj()
    try:
        raw = unpacking.decompress(stored, MAX_BYTES + 1)
        if not unpacking.eof:
            raise ModelRefused(f"the artefact is cut short, or has more than {MAX_BYTES:,} bytes; export it again")
        schema = msgspec.msgpack.decode(raw, type=_Schema).schema
        if schema != SCHEMA_VERSION:
            raise ModelRefused(
                f"the artefact has schema {schema}, this program reads {SCHEMA_VERSION}: "
                + ("update this program" if schema > SCHEMA_VERSION else "train it anew")
            )
        return msgspec.msgpack.decode(raw, type=_Artefact)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelRefused(
            f"this is no artefact of a model ({error}): give a file of `pipeline models export`"
        ) from error

"""Learned models as they are kept: versions by kind and machine type, which stay what they are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString, NamedTuple

import orjson
import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from pipeline.core.errors import PipelineError, SettingsError
from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.artefacts import KnownModels, Model
from pipeline.store.connect import Connection

CANDIDATE = "candidate"
"""Stage of a version that a group has never had in another one."""

LONGEST_TYPE = 128
"""Characters of a machine type, as in messages."""


class Group(NamedTuple):
    """Whose stages: one consumer group's on one cluster."""

    cluster: str
    name: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that is to be kept.

    Parameters
    ----------
    artefact
        From :func:`pipeline.core.prognosis.artefacts.encode`.
    parameters
        What it was learned with.
    training
        What it was learned from: ``offsets``, topic → partition → ``[from, to)``, and ``from_time`` and ``to_time``, ISO 8601.
    metrics
        What it was measured to do; may grow later.
    """

    machine_type: str
    artefact: bytes
    parameters: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version, without its artefact.

    Parameters
    ----------
    version
        Counted from 1 for each kind and machine type.
    stage
        Of the group that was asked for: ``candidate``, ``shadow``, ``live`` or ``retired``.
    features
        Names of its inputs, in order; empty: not noted when it was kept.
    artefact_bytes
        Size of the artefact.
    """

    model_id: int
    kind: str
    machine_type: str
    version: int
    stage: str
    parameters: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, Any]
    feature_version: int
    features: list[str]
    schema_version: int
    sha256: str
    artefact_bytes: int
    created_at: dt.datetime
    created_by: str
    note: str

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.kind} of {self.machine_type}, version {self.version}"


class PassedOver(NamedTuple):
    """A live version in whose place partitions predict with another one."""

    model_id: int
    said_version: int
    partitions: int


_VERSIONS = f"""
SELECT v.model_id, v.kind, v.machine_type, v.version, coalesce(s.stage, '{CANDIDATE}') AS stage, v.parameters, v.training,
       v.metrics, v.feature_version, v.features, v.schema_version, v.sha256, octet_length(v.artefact) AS artefact_bytes,
       v.created_at, v.created_by, v.note
FROM model_version AS v
LEFT JOIN model_stage AS s ON s.model_id = v.model_id AND s.until IS NULL AND s.cluster = %(cluster)s
  AND s.consumer_group = %(group)s
WHERE (%(model_id)s::bigint IS NULL OR v.model_id = %(model_id)s) AND (%(kind)s::text IS NULL OR v.kind = %(kind)s)
  AND (%(machine_type)s::text IS NULL OR v.machine_type = %(machine_type)s)
ORDER BY v.kind, v.machine_type, v.version
"""
_THERE = "SELECT model_id FROM model_version WHERE kind = %(kind)s AND machine_type = %(machine_type)s AND sha256 = %(sha256)s"
_ADD = """
INSERT INTO model_version (kind, machine_type, version, parameters, training, metrics, feature_version, features,
                           schema_version, sha256, artefact, note)
SELECT %(kind)s, %(machine_type)s, coalesce(max(version), 0) + 1, %(parameters)s, %(training)s, %(metrics)s,
       %(feature_version)s, %(features)s, %(schema_version)s, %(sha256)s, %(artefact)s, %(note)s
FROM model_version WHERE kind = %(kind)s AND machine_type = %(machine_type)s
RETURNING model_id
"""
_METRICS = "UPDATE model_version SET metrics = metrics || %s WHERE model_id = %s"
_HISTORY = """
SELECT stage, since, until, reason, created_by, control_id FROM model_stage
WHERE model_id = %(model_id)s AND cluster = %(cluster)s AND consumer_group = %(group)s ORDER BY id
"""
_IN_FORCE = """
SELECT topic, partition, stage, from_offset, noted_at, said_version, said_offset FROM dashboard.model_in_force
WHERE cluster = %(cluster)s AND consumer_group = %(group)s AND model_id = %(model_id)s ORDER BY topic, partition
"""
_PASSED_OVER = """
SELECT model_id, said_version, count(*) AS partitions FROM dashboard.model_in_force
WHERE cluster = %(cluster)s AND consumer_group = %(group)s AND model_id = ANY(%(model_ids)s)
  AND said_version <> version AND said_offset >= from_offset
GROUP BY model_id, said_version ORDER BY model_id, said_version
"""
_ARTEFACT = "SELECT artefact FROM model_version WHERE model_id = %s"


def all_of(
    connection: Connection, group: Group, *, kind: str | None = None, machine_type: str | None = None
) -> list[ModelVersion]:
    """Return the versions with the stages that a group has them in, by kind, machine type and version."""
    return _found(connection, group, {"model_id": None, "kind": kind, "machine_type": machine_type})


def find(connection: Connection, group: Group, model_id: int) -> ModelVersion:
    """Return a version; raises :class:`PipelineError` if there is none."""
    found = _found(connection, group, {"model_id": model_id, "kind": None, "machine_type": None})
    if not found:
        raise PipelineError(f"there is no model {model_id}: `pipeline models list` shows those there are")
    return found[0]


def add(connection: Connection, group: Group, candidate: Candidate, known: KnownModels) -> tuple[ModelVersion, bool]:
    """Keep a model as the next version of its kind and machine type; return it, and whether it is new.

    A model whose bytes are kept already is not kept twice: then the version that has them is returned as it is.

    Parameters
    ----------
    connection
        In autocommit mode, of a login that may add models.

    Raises
    ------
    ModelRefused
        If the artefact cannot be loaded.
    SettingsError
        If the machine type is none, or the login may not add models.
    """
    _require_type(candidate.machine_type)
    sha256 = artefacts.digest(candidate.artefact)
    model, feature_version = artefacts.load(candidate.artefact, sha256, known)
    row = {
        "kind": model.kind,
        "machine_type": candidate.machine_type,
        "feature_version": feature_version,
        "features": list(model.features),
        "schema_version": artefacts.SCHEMA_VERSION,
        "sha256": sha256,
        "artefact": candidate.artefact,
        "note": candidate.note,
    } | {name: _json(getattr(candidate, name)) for name in ("parameters", "training", "metrics")}
    with changing(connection) as cursor:
        hold(cursor, model.kind, candidate.machine_type)
        there = cursor.execute(_THERE, row).fetchone()
        (model_id,) = there or cursor.execute(_ADD, row).fetchone() or (0,)
    return find(connection, group, model_id), there is None


def add_metrics(connection: Connection, model_id: int, metrics: Mapping[str, Any]) -> None:
    """Note what a version was measured to do; a metric replaces the one of its name, the others stay.

    Raises
    ------
    PipelineError
        If there is no such version.
    """
    with changing(connection) as cursor:
        if cursor.execute(_METRICS, [_json(metrics), model_id]).rowcount != 1:
            raise PipelineError(f"there is no model {model_id}: `pipeline models list` shows those there are")


def history(connection: Connection, group: Group, model_id: int) -> list[dict[str, Any]]:
    """Return the stages that a group has had a version in, oldest first."""
    return _named(connection, _HISTORY, group, model_id)


def in_force(connection: Connection, group: Group, model_id: int) -> list[dict[str, Any]]:
    """Return the partitions of a group in which a version predicts, in which stage and from which offset on."""
    return _named(connection, _IN_FORCE, group, model_id)


def passed_over(connection: Connection, group: Group, found: Sequence[ModelVersion]) -> list[PassedOver]:
    """Return the live ones of some versions in whose place partitions say something by another one: they refused it."""
    about = {"cluster": group.cluster, "group": group.name, "model_ids": [each.model_id for each in found]}
    with connection.cursor(row_factory=class_row(PassedOver)) as cursor:
        return cursor.execute(_PASSED_OVER, about).fetchall()


def artefact(connection: Connection, version: ModelVersion) -> bytes:
    """Return the bytes of a version as they are stored."""
    (stored,) = connection.execute(_ARTEFACT, [version.model_id]).fetchone() or (b"",)
    return bytes(stored)


def load(connection: Connection, version: ModelVersion, known: KnownModels) -> Model:
    """Return a version as a model; raises :class:`ModelRefused` if it is damaged, or none that this program knows."""
    return artefacts.load(artefact(connection, version), version.sha256, known).model


@contextmanager
def changing(connection: Connection) -> Iterator[psycopg.Cursor[Any]]:
    """Begin a transaction that changes the registry: all of it is done, or nothing.

    Raises
    ------
    SettingsError
        If the login may not do that.
    """
    try:
        with connection.transaction(), connection.cursor() as cursor:
            yield cursor
    except psycopg.errors.InsufficientPrivilege as error:
        raise _refused(connection) from error


def require_adding(connection: Connection) -> None:
    """Refuse a login that may not add models, before anything is worked out for it.

    Raises
    ------
    SettingsError
        If it may not.
    """
    if connection.execute("SELECT has_table_privilege('model_version', 'INSERT')").fetchone() != (True,):
        raise _refused(connection)


def _refused(connection: Connection) -> SettingsError:
    return SettingsError(
        f"the login {connection.info.user} may not change models: let postgres.admin_dsn name one that has the role"
        " pipeline_engineer"
    )


def hold(cursor: psycopg.Cursor[Any], kind: str, machine_type: str) -> None:
    """Let nobody else change the models of a kind and machine type until the transaction ends; waits for whoever does."""
    lock = "SELECT pg_advisory_xact_lock(hashtextextended('pipeline models ' || %s || ' ' || %s, 0))"
    cursor.execute(lock, [kind, machine_type])


def _found(connection: Connection, group: Group, wanted: dict[str, Any]) -> list[ModelVersion]:
    about = wanted | {"cluster": group.cluster, "group": group.name}
    with connection.cursor(row_factory=class_row(ModelVersion)) as cursor:
        return cursor.execute(_VERSIONS, about).fetchall()


def _named(connection: Connection, query: LiteralString, group: Group, model_id: int) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, {"cluster": group.cluster, "group": group.name, "model_id": model_id}).fetchall()


def _require_type(machine_type: str) -> None:
    if not machine_type or len(machine_type) > LONGEST_TYPE or "\0" in machine_type:
        raise SettingsError(f"a machine type has 1 to {LONGEST_TYPE} characters, none of them NUL; name one")


def _json(value: Mapping[str, Any]) -> Jsonb:
    """Return a value for the database; what is not finite becomes null, which JSON can say."""
    return Jsonb(value, dumps=orjson.dumps)

"""Which versions of models a consumer group works with: live, shadow, retired; and how it came to that.

Every change is one transaction: stages, and the control record by which each partition of the group hears of it. Of two who
change models of one kind and machine type at once, one waits. A stage is a row that ends with the next one; the live rows are a
stack besides, each knows the one that a rollback goes back to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from pipeline.core.controls import MODEL
from pipeline.core.errors import PipelineError
from pipeline.core.prognosis.artefacts import KnownModels
from pipeline.core.prognosis.model_controls import LIVE, MOST_SHADOWS, OUT, SHADOW, Action, ModelControl, control_body
from pipeline.store import models
from pipeline.store.connect import Connection
from pipeline.store.models import CANDIDATE, Group, ModelVersion

Cursor = psycopg.Cursor[Any]

RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class StageChange:
    """What a change of stage did.

    Parameters
    ----------
    stage
        Which one the version has now.
    previous_stage
        Which one it had; if it is the same, nothing was changed.
    replaced_version
        The version that was live until now.
    control_id
        The control record that tells partitions; ``None``: there is nothing to tell.
    """

    model_id: int
    kind: str
    machine_type: str
    version: int
    stage: str
    previous_stage: str
    replaced_version: int | None = None
    control_id: int | None = None

    @property
    def is_change(self) -> bool:
        """Whether it changed anything."""
        return self.stage != self.previous_stage


class _Period(NamedTuple):
    """A version's time as the live one."""

    id: int
    model_id: int
    follows: int | None
    lasts: bool


_OF_TYPE = (
    "cluster = %(cluster)s AND consumer_group = %(group)s AND kind = %(kind)s AND machine_type = %(machine_type)s"
)
_LAST_LIVE = f"""
SELECT id, model_id, follows, until IS NULL FROM model_stage WHERE {_OF_TYPE} AND stage = 'live' ORDER BY id DESC LIMIT 1
"""
_PERIOD = "SELECT id, model_id, follows, until IS NULL FROM model_stage WHERE id = %s"
_SHADOWS = f"""
SELECT model_id FROM model_stage WHERE {_OF_TYPE} AND stage = 'shadow' AND until IS NULL ORDER BY model_id
"""
_END = """
UPDATE model_stage SET until = clock_timestamp()
WHERE cluster = %(cluster)s AND consumer_group = %(group)s AND model_id = %(model_id)s AND until IS NULL
"""
# It begins when the one before it ended
_BEGIN = """
INSERT INTO model_stage (cluster, consumer_group, model_id, kind, machine_type, stage, since, follows, control_id, reason)
SELECT %(cluster)s, %(group)s, %(model_id)s, %(kind)s, %(machine_type)s, %(stage)s, coalesce(max(until), clock_timestamp()),
       %(follows)s, %(control_id)s, %(reason)s
FROM model_stage WHERE cluster = %(cluster)s AND consumer_group = %(group)s AND model_id = %(model_id)s
"""
_TELL = """
INSERT INTO control_record (kind, cluster, consumer_group, reason, detail, created_by, body)
VALUES (%(control)s, %(cluster)s, %(group)s, %(action)s, %(reason)s, session_user, %(body)s) RETURNING id
"""


def promote(connection: Connection, group: Group, model_id: int, known: KnownModels, reason: str = "") -> StageChange:
    """Make a version the live one of its kind and machine type; the one before it is retired, and a rollback brings it back.

    Parameters
    ----------
    connection
        In autocommit mode, of a login that may change models.

    Raises
    ------
    PipelineError
        If there is no such version.
    ModelRefused
        If it is damaged, or none that this program knows.
    SettingsError
        If the login may not change models.
    """

    def decide(cursor: Cursor, version: ModelVersion) -> StageChange:
        if version.stage == LIVE:
            return _unchanged(version)
        models.load(connection, version, known)
        last = _last_live(cursor, group, version.kind, version.machine_type)
        follows = last and (last.follows if last.model_id == model_id else last.id)
        return _make_live(cursor, group, version, follows, reason)

    return _decided(connection, group, model_id, decide)


def rollback(
    connection: Connection, group: Group, kind: str, machine_type: str, known: KnownModels, reason: str = ""
) -> StageChange:
    """Make the version live again that was live before the present one; of none is live now, the last one that was.

    Each further rollback goes one promotion further back.

    Parameters
    ----------
    connection
        In autocommit mode, of a login that may change models.

    Raises
    ------
    PipelineError
        If there was none.
    ModelRefused
        If it is damaged, or none that this program knows.
    SettingsError
        If the login may not change models.
    """
    with models.changing(connection) as cursor:
        models.hold(cursor, kind, machine_type)
        last = _last_live(cursor, group, kind, machine_type)
        target = _period(cursor, last.follows) if last is not None and last.lasts else last
        if target is None:
            raise PipelineError(
                f"no {kind} model of {machine_type} was live in the group {group.name} before"
                + (" the present one" if last else "")
                + ": promote one, `pipeline models list` shows those there are"
            )
        version = models.find(connection, group, target.model_id)
        models.load(connection, version, known)
        return _make_live(cursor, group, version, target.follows, reason or "rollback")


def shadow(connection: Connection, group: Group, model_id: int, known: KnownModels, reason: str = "") -> StageChange:
    """Let a version predict beside the live one, for comparison only.

    Parameters
    ----------
    connection
        In autocommit mode, of a login that may change models.

    Raises
    ------
    PipelineError
        If there is no such version, it is live, or :data:`MOST_SHADOWS` others are in the shadow.
    ModelRefused
        If it is damaged, or none that this program knows.
    SettingsError
        If the login may not change models.
    """

    def decide(cursor: Cursor, version: ModelVersion) -> StageChange:
        if version.stage == SHADOW:
            return _unchanged(version)
        if version.stage == LIVE:
            raise PipelineError(
                f"the model {model_id} is live: promote another one first, or `pipeline models retire` it"
            )
        others = [
            str(each)
            for (each,) in cursor.execute(_SHADOWS, _of_type(group, version.kind, version.machine_type)).fetchall()
        ]
        if len(others) >= MOST_SHADOWS:
            raise PipelineError(
                f"{MOST_SHADOWS} models are in the shadow already ({', '.join(others)}): `pipeline models retire` one of them"
            )
        models.load(connection, version, known)
        control_id = _tell(cursor, group, version, SHADOW, reason)
        _begin(cursor, group, version, SHADOW, reason, control_id=control_id)
        return _change(version, SHADOW, control_id=control_id)

    return _decided(connection, group, model_id, decide)


def retire(connection: Connection, group: Group, model_id: int, reason: str = "") -> StageChange:
    """Let a version predict no more, or mark a candidate as one that will not; a live one leaves its machines without.

    Parameters
    ----------
    connection
        In autocommit mode, of a login that may change models.

    Raises
    ------
    PipelineError
        If there is no such version.
    SettingsError
        If the login may not change models.
    """

    def decide(cursor: Cursor, version: ModelVersion) -> StageChange:
        if version.stage == RETIRED:
            return _unchanged(version)
        control_id = None if version.stage == CANDIDATE else _tell(cursor, group, version, OUT, reason)
        _begin(cursor, group, version, RETIRED, reason, control_id=control_id)
        return _change(version, RETIRED, control_id=control_id)

    return _decided(connection, group, model_id, decide)


def _decided(
    connection: Connection, group: Group, model_id: int, decide: Callable[[Cursor, ModelVersion], StageChange]
) -> StageChange:
    """Return what was decided about a version while nobody else decides about its kind and machine type."""
    with models.changing(connection) as cursor:
        found = models.find(connection, group, model_id)
        models.hold(cursor, found.kind, found.machine_type)
        return decide(cursor, models.find(connection, group, model_id))


def _make_live(cursor: Cursor, group: Group, version: ModelVersion, follows: int | None, reason: str) -> StageChange:
    control_id = _tell(cursor, group, version, LIVE, reason)
    last = _last_live(cursor, group, version.kind, version.machine_type)
    replaced = None
    if last is not None and last.lasts:
        before = models.find(cursor.connection, group, last.model_id)
        _begin(cursor, group, before, RETIRED, reason, control_id=control_id)
        replaced = before.version
    _begin(cursor, group, version, LIVE, reason, control_id=control_id, follows=follows)
    return _change(version, LIVE, control_id=control_id, replaced=replaced)


def _begin(
    cursor: Cursor,
    group: Group,
    version: ModelVersion,
    stage: str,
    reason: str,
    *,
    control_id: int | None,
    follows: int | None = None,
) -> None:
    """Let a version's present stage end, and another one begin."""
    about = _of_type(group, version.kind, version.machine_type) | {"model_id": version.model_id, "stage": stage}
    cursor.execute(_END, about)
    cursor.execute(_BEGIN, about | {"follows": follows, "control_id": control_id, "reason": reason})


def _tell(cursor: Cursor, group: Group, version: ModelVersion, action: Action, reason: str) -> int:
    """Store the control record about a version; return its number."""
    said = ModelControl(action, version.kind, version.machine_type, version.model_id, version.version, version.sha256)
    about = {"control": MODEL, "action": action, "reason": reason, "body": Jsonb(control_body(said))}
    (number,) = cursor.execute(_TELL, _of_type(group, version.kind, version.machine_type) | about).fetchone() or (0,)
    return int(number)


def _last_live(cursor: Cursor, group: Group, kind: str, machine_type: str) -> _Period | None:
    row = cursor.execute(_LAST_LIVE, _of_type(group, kind, machine_type)).fetchone()
    return _Period(*row) if row is not None else None


def _period(cursor: Cursor, number: int | None) -> _Period | None:
    row = cursor.execute(_PERIOD, [number]).fetchone()
    return _Period(*row) if row is not None else None


def _of_type(group: Group, kind: str, machine_type: str) -> dict[str, Any]:
    return {"cluster": group.cluster, "group": group.name, "kind": kind, "machine_type": machine_type}


def _unchanged(version: ModelVersion) -> StageChange:
    return _change(version, version.stage, control_id=None)


def _change(version: ModelVersion, stage: str, *, control_id: int | None, replaced: int | None = None) -> StageChange:
    which = (version.model_id, version.kind, version.machine_type, version.version)
    return StageChange(*which, stage, version.stage, replaced, control_id)

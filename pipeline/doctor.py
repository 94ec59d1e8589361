"""What is wrong with an installation, and how to mend it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg

from pipeline import connections
from pipeline.broker import topics
from pipeline.core.errors import PipelineError
from pipeline.core.records import SourcePartition
from pipeline.settings import Settings
from pipeline.store import figures
from pipeline.store.connect import Connection, address
from pipeline.store.event_partitions import event_partitions
from pipeline.store.failures import failure
from pipeline.store.migrate import pending

State = Literal["ok", "note", "wrong"]

_MOST_CLOCK_SKEW_S = 5.0
_OLDEST_SERVER = 150_000
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """What one examination found; ``found`` says how to mend what is wrong."""

    state: State
    what: str
    found: str


def examine(settings: Settings) -> list[Finding]:
    """Examine broker, topics, database and progress; what cannot be reached is a finding, not an error."""
    findings = list(_examine_broker(settings))
    try:
        with connections.database(settings, "pipeline doctor") as connection:
            findings.extend(_examine_database(settings, connection))
    except PipelineError as error:
        findings.append(Finding("wrong", "database", str(error)))
    return findings


def _examine_broker(settings: Settings) -> Iterator[Finding]:
    broker, names = settings.broker.address, settings.all_topics
    try:
        present = topics.list_topics(broker, connections.broker_security(settings))
    except PipelineError as error:
        yield Finding("wrong", "broker", str(error))
        return
    yield Finding("ok", "broker", f"{broker} answers")
    partitions = {topic.name: topic.partitions for topic in present}
    for name in names:
        if name in partitions:
            yield Finding("ok", f"topic {name}", f"{partitions[name]} partition(s)")
        else:
            yield Finding(
                "wrong",
                f"topic {name}",
                "is not there: run `pipeline topics --create`, or correct broker.topics, broker.alert_topic and"
                " broker.topic_prefix",
            )


def _examine_database(settings: Settings, connection: Connection) -> Iterator[Finding]:
    version, at = connection.info.server_version, address(settings.postgres.dsn.get_secret_value())
    if version < _OLDEST_SERVER:
        yield Finding("wrong", "database", f"PostgreSQL {version // 10_000} at {at} is too old; 15 or newer is needed")
    else:
        yield Finding("ok", "database", f"PostgreSQL {version // 10_000} at {at} answers")
    try:
        missing = pending(connection)
    except psycopg.Error as error:
        yield Finding("wrong", "schema", str(failure(error, "the database refuses")))
        return
    if missing:
        yield Finding(
            "wrong", "schema", f"{len(missing)} migration(s) missing, first {missing[0]}: run `pipeline migrate`"
        )
        return
    yield Finding("ok", "schema", "every migration is there")
    for what, check in _CHECKS.items():
        try:
            yield check(settings, connection)
        except psycopg.Error as error:
            yield Finding("wrong", what, str(failure(error, "the database refuses")))


def _rights(_: Settings, connection: Connection) -> Finding:
    may_read, may_insert, may_change = connection.execute(
        "SELECT has_table_privilege('event', 'SELECT'), has_table_privilege('event', 'INSERT'),"
        " has_table_privilege('event', 'UPDATE') OR has_table_privilege('event', 'DELETE')"
    ).fetchone() or (False, False, False)
    if not (may_read and may_insert):
        return Finding("wrong", "rights", "this user may not write events: grant it the role pipeline_worker")
    if may_change:
        return Finding(
            "note", "rights", "this user may change and delete events: let workers log in with pipeline_worker only"
        )
    return Finding("ok", "rights", "events can be added, not changed")


def _partitions(_: Settings, connection: Connection) -> Finding:
    now = dt.datetime.now(dt.UTC)
    ends = [each.ends for each in event_partitions(connection) if each.begins and each.ends and each.begins > now]
    if not ends:
        return Finding("wrong", "partitions", "none ahead: start a worker, or run `pipeline migrate`")
    days = (max(filter(None, ends)) - now) / dt.timedelta(days=1)
    return Finding("ok", "partitions", f"{len(ends)} ahead, {days:.0f} day(s)")


def _index(_: Settings, connection: Connection) -> Finding:
    slow = [each.name for each in event_partitions(connection) if not each.indexed]
    if slow:
        return Finding(
            "wrong",
            "index",
            f"{len(slow)} partition(s) of event have none by machine, first {slow[0]}, and queries there are slow:"
            " run `pipeline migrate`, workers may go on",
        )
    return Finding("ok", "index", "every partition of event has one by machine")


def _clock(_: Settings, connection: Connection) -> Finding:
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    skew_s = abs((dt.datetime.now(dt.UTC) - row[0]).total_seconds()) if row else 0.0
    if skew_s > _MOST_CLOCK_SKEW_S:
        return Finding("wrong", "clock", f"{skew_s:.0f} s away from the database's: set up time synchronisation")
    return Finding("ok", "clock", f"{skew_s:.1f} s away from the database's")


def _progress(settings: Settings, connection: Connection) -> Finding:
    rows = figures.progress(connection, settings.site.cluster, settings.group)
    if not rows:
        return Finding("note", "progress", _nothing_stored(settings, figures.groups(connection)))
    stale = [row for row in rows if (row.now - row.updated_at).total_seconds() > 600]
    if stale:
        first = SourcePartition(stale[0].topic, stale[0].partition)
        return Finding("note", "progress", f"{len(stale)} partition(s) have not moved for 10 minutes, first {first}")
    return Finding("ok", "progress", f"{len(rows)} partition(s), all moved within 10 minutes")


def _nothing_stored(settings: Settings, others: Sequence[tuple[str, str]]) -> str:
    here = settings.site.cluster
    said = f"no worker of group {settings.group} has stored anything yet of cluster {here}"
    if not others:
        return said
    named = [group if cluster == here else f"{group} of cluster {cluster}" for cluster, group in others[:_MOST_NAMED]]
    more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    return f"{said}; these have: {', '.join(named)}{more}. broker.group and site.cluster say whose progress is meant"


def _gaps(settings: Settings, connection: Connection) -> Finding:
    row = connection.execute(
        "SELECT count(*), sum(to_offset - from_offset) FROM source_gap WHERE cluster = %s AND consumer_group = %s",
        [settings.site.cluster, settings.group],
    ).fetchone()
    if row and row[0]:
        return Finding(
            "wrong", "gaps", f"{row[0]} gap(s) with {row[1]} offsets that the log no longer had: see source_gap"
        )
    return Finding("ok", "gaps", "none")


_CHECKS: dict[str, Callable[[Settings, Connection], Finding]] = {
    "rights": _rights,
    "partitions": _partitions,
    "index": _index,
    "clock": _clock,
    "progress": _progress,
    "gaps": _gaps,
}

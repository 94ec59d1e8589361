"""Migrations: raw SQL files, applied in order, each in a transaction, by one process at a time."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

from pipeline.core.errors import PipelineError, SchemaOutdated
from pipeline.crash_points import CrashPoint, reached
from pipeline.store import event_partitions, window_index
from pipeline.store.connect import SCHEMA, Connection, connect
from pipeline.store.failures import line, worded

FOLDER = Path(__file__).with_name("migrations")

_LOCK = "SELECT pg_advisory_lock(hashtextextended('pipeline migrate ' || %s, 0))"
_TABLE = "_yoyo_migration"


class MigrationFailed(PipelineError):
    """A migration was refused by the database; the text names it. What came before it is applied."""


def migrate(dsn: str) -> list[str]:
    """Bring a database to the schema this version needs; return the names of the migrations that were applied.

    May run any number of times, and at the same time from several places: an advisory lock lets one at a time do it.
    Partitions of ``event`` that an older version made are brought up to date afterwards, see
    :func:`pipeline.store.event_partitions.bring_up_to_date`, and so is the index of windows: with many rows that takes minutes,
    and workers go on meanwhile.

    Parameters
    ----------
    dsn
        Of a user who may create schemas, roles and trusted extensions.

    Raises
    ------
    DatabaseUnavailable
        If the database does not answer.
    MigrationFailed
        If it refuses a migration.
    """
    # The library logs every statement and every failure a second time
    logging.getLogger("yoyo").setLevel(logging.CRITICAL)
    with connect(dsn, autocommit=True, application_name="pipeline migrate") as guard:
        try:
            guard.execute(_LOCK, [SCHEMA])
            guard.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        except psycopg.Error as error:
            raise MigrationFailed(f"the database refuses to be migrated: {line(error)}") from error
        applied = _apply(dsn)
    try:
        event_partitions.bring_up_to_date(dsn)
        window_index.bring_up_to_date(dsn)
    except psycopg.Error as error:
        raise MigrationFailed(
            f"partitions of event, or the index of reading_window, were not brought up to date: {line(error)}; run"
            " `pipeline migrate` again, it goes on there"
        ) from error
    return applied


def _apply(dsn: str) -> list[str]:
    parameters: dict[str, Any] = {name: value for name, value in conninfo_to_dict(dsn).items() if value is not None}
    database = parameters.pop("dbname", "")
    uri = DatabaseURI("postgresql+psycopg", None, None, None, None, database, parameters | {"schema": SCHEMA})
    backend = PostgresqlPsycopgBackend(uri, _TABLE)
    applied = []
    try:
        # The row with which the library itself keeps others out stays behind when a migrating process is killed
        backend.init_database()
        backend.break_lock()
        with backend.lock():
            for migration in backend.to_apply(read_migrations(str(FOLDER))):
                reached(CrashPoint.BEFORE_MIGRATION)
                try:
                    # The library's own way notes a migration in another transaction than the one that applies it: one that
                    # was interrupted between the two could never be gone on with
                    with backend.transaction():
                        migration.process_steps(backend, "apply")
                        backend.mark_one(migration)
                        reached(CrashPoint.INSIDE_MIGRATION)
                except psycopg.Error as error:
                    raise MigrationFailed(f"migration {migration.id} was refused: {line(error)}") from error
                applied.append(migration.id)
    finally:
        backend.connection.close()
    return applied


def pending(connection: Connection) -> list[str]:
    """Return the names of the migrations that this version needs and the database lacks; changes nothing."""
    names = sorted(path.stem for path in FOLDER.glob("*.sql"))
    row = connection.execute("SELECT to_regclass(%s)", [f"{SCHEMA}.{_TABLE}"]).fetchone()
    if row is None or row[0] is None:
        return names
    applied = {name for (name,) in connection.execute(f"SELECT migration_id FROM {SCHEMA}.{_TABLE}")}
    return [name for name in names if name not in applied]


def require_schema(connection: Connection) -> None:
    """Check that the database has what this version needs.

    Raises
    ------
    SchemaOutdated
        If migrations are missing.
    DatabaseUnavailable
        If the database does not answer.
    """
    with worded("the database did not say which migrations it has"):
        missing = pending(connection)
    if missing:
        raise SchemaOutdated(
            f"the database lacks {len(missing)} migration(s), first {missing[0]}: run `pipeline migrate`"
        )


def make_partitions(connection: Connection, days_ahead: int = 7) -> int:
    """Make the partitions of ``event`` from yesterday on, four a day; return how many were new.

    In several transactions, unless one has begun: rows in the default partition are looked at while others store.

    Raises
    ------
    DatabaseUnavailable
        If the database does not answer, or somebody holds the table's lock.
    """
    with worded("the event partitions of the next days were not made"):
        for _ in range(event_partitions.STEPS):
            if _of_days(connection, "prepare_event_partitions", days_ahead):
                break
        made = _of_days(connection, "make_event_partitions", days_ahead)
        reached(CrashPoint.MAKING_EVENT_PARTITIONS)
        _of_days(connection, "prepare_event_partitions", days_ahead)
    return made


def _of_days(connection: Connection, function: str, days_ahead: int) -> int:
    days = "(now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + %s"
    with connection.transaction():
        row = connection.execute(f"SELECT {function}({days})", [days_ahead]).fetchone()
    assert row is not None  # noqa: S101  # a function call always gives a row
    return int(row[0])

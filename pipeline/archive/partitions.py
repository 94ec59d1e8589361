"""Partitions of ``event`` as they grow old: taking one out so that nobody can write to it any more."""

from __future__ import annotations

import datetime as dt
import random
import time
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from pipeline.core.errors import DatabaseUnavailable, SettingsError
from pipeline.store.connect import SCHEMA
from pipeline.store.event_partitions import event_partitions
from pipeline.store.failures import line

Connection = psycopg.Connection[Any]

DEFAULT = "event_default"
RETIRED = "retired_event_"
"""What a partition is called that was taken out and is not dropped yet."""

_TRIES = 20
_PAUSE_S = 0.25

_OID = f"SELECT oid FROM pg_class WHERE relnamespace = '{SCHEMA}'::regnamespace AND relname = %s"
_RETIRED = (
    f"SELECT relname FROM pg_class WHERE relnamespace = '{SCHEMA}'::regnamespace AND relkind IN ('r', 'p')"
    f" AND relname ~ '^{RETIRED}[0-9]+$' ORDER BY relname"
)


class Bounded(NamedTuple):
    """A partition with its event times ``[low, high)``, UTC."""

    name: str
    low: dt.datetime
    high: dt.datetime


def require_owner(connection: Connection) -> None:
    """Check that this user may drop partitions; raises :class:`SettingsError`."""
    query = f"SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = '{SCHEMA}.event'::regclass"
    if connection.execute(query).fetchone() != (True,):
        raise SettingsError(
            f"postgres.admin_dsn: {connection.info.user} does not own the tables, so it may drop nothing; name who migrates"
        )


def bounded(connection: Connection) -> list[Bounded]:
    """Return the partitions of ``event`` in order, without the default one; one that is open on a side is never old."""
    there = ((each.name, each.begins, each.ends) for each in reversed(event_partitions(connection)))
    return [Bounded(name, low, high) for name, low, high in there if low is not None and high is not None]


def retired(connection: Connection) -> list[str]:
    """Return the tables that were partitions, and that a run which was killed has left to be dropped."""
    return [name for (name,) in connection.execute(_RETIRED)]


def retire(connection: Connection, name: str) -> str:
    """Take a partition out of ``event``; return what it is called then.

    It takes a moment, but nobody may be reading or writing ``event`` in that moment. So it is waited for only as long as
    the connection's ``lock_timeout``, during which workers wait too, and tried again after a pause.

    Raises
    ------
    DatabaseUnavailable
        If the table was in use at every try.
    """
    schema, child = sql.Identifier(SCHEMA), sql.Identifier(name)
    for left in reversed(range(_TRIES)):
        try:
            with connection.transaction():
                detach = sql.SQL("ALTER TABLE {}.event DETACH PARTITION {}.{}")
                connection.execute(detach.format(schema, schema, child))
                row = connection.execute(_OID, [name]).fetchone()
                assert row is not None  # noqa: S101  # it was taken out just now
                new = f"{RETIRED}{row[0]}"
                rename = sql.SQL("ALTER TABLE {}.{} RENAME TO {}")
                connection.execute(rename.format(schema, child, sql.Identifier(new)))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if not left:
                raise DatabaseUnavailable(
                    f"{name} was not taken out of event: {line(error)}; somebody reads event for long, try again later"
                ) from error
            time.sleep(_PAUSE_S * random.uniform(1, 3))  # noqa: S311  # only that two do not keep step
        else:
            return new
    raise AssertionError


def drop(connection: Connection, name: str) -> None:
    """Drop a table that was taken out."""
    connection.execute(sql.SQL("DROP TABLE {}.{}").format(sql.Identifier(SCHEMA), sql.Identifier(name)))

"""The index by which a dashboard finds the minutes of a sensor in ``reading_window``, whose rows are half minutes.

An empty table gets it from a migration. Where rows are there already it is built beside their writers (``CONCURRENTLY``),
which the database refuses inside a transaction: so ``pipeline migrate`` does that afterwards.
"""

from __future__ import annotations

from pipeline.store.connect import SCHEMA, connect

INDEX = "reading_window_minute"

_STATE = f"SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('{SCHEMA}.{INDEX}')"
_DROP = f"DROP INDEX CONCURRENTLY {SCHEMA}.{INDEX}"
BUILD = f"""
CREATE INDEX {INDEX} ON {SCHEMA}.reading_window (
    machine_id, sensor, date_bin('1 minute', window_start, '2000-01-01 00:00:00+00'))
"""
"""Builds it, inside a transaction too."""

_BUILD_BESIDE = BUILD.replace("INDEX", "INDEX CONCURRENTLY", 1)
_LOCK = f"SELECT pg_try_advisory_lock(hashtextextended('pipeline window index {SCHEMA}', 0))"


def bring_up_to_date(dsn: str) -> bool:
    """Build the index if it is missing; return whether it was. Only one process does it at a time, others do nothing.

    Parameters
    ----------
    dsn
        Of the table's owner.

    Raises
    ------
    psycopg.Error
        Whatever the database has against it.
    """
    with connect(dsn, autocommit=True, application_name="pipeline migrate") as connection:
        # The connection is closed hereafter, which is what frees the lock, also after a failure
        if connection.execute(_LOCK).fetchone() != (True,):
            return False
        state = connection.execute(_STATE).fetchone()
        if state == (True,):
            return False
        if state is not None:
            # Whoever began it was interrupted
            connection.execute(_DROP)
        connection.execute(_BUILD_BESIDE)
        return True

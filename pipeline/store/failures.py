"""What the database's errors mean for whoever called it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from pipeline.core.errors import DatabaseUnavailable, PipelineError, SchemaOutdated

_PASSING = ("08", "25006", "25P", "40", "53", "55", "57", "58")
"""SQLSTATEs that pass by themselves: connection, read-only, timeout in a transaction, rollback, resources, locks, shutdown,
system."""


def failure(error: psycopg.Error, attempt: str) -> PipelineError:
    """Return the error of our own that says whether the same call may succeed later.

    Parameters
    ----------
    attempt
        What did not happen, as the beginning of a sentence.

    Examples
    --------
    >>> failure(psycopg.errors.ReadOnlySqlTransaction("standby"), "the batch was not stored")
    DatabaseUnavailable('the batch was not stored: standby')
    >>> failure(psycopg.errors.UndefinedTable("no event"), "the batch was not stored").retriable
    False
    """
    # Without a state it is the connection that broke
    state = error.sqlstate or "08"
    if state.startswith(_PASSING):
        return DatabaseUnavailable(f"{attempt}: {line(error)}")
    if state == "42501":
        return SchemaOutdated(f"{attempt}: {line(error)}; grant the login the role pipeline_worker")
    return SchemaOutdated(f"{attempt}: {line(error)}; the schema does not fit this version, run `pipeline migrate`")


@contextmanager
def worded(attempt: str) -> Iterator[None]:
    """Turn the database's errors into our own, as :func:`failure` does; raises :class:`PipelineError`."""
    try:
        yield
    except psycopg.Error as error:
        raise failure(error, attempt) from error


def line(error: psycopg.Error) -> str:
    """Return the first line of what the database says."""
    return str(error).partition("\n")[0] or type(error).__name__

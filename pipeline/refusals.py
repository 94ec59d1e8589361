"""What the database says no to, in the words of the project's own errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from pipeline.core.errors import DatabaseUnavailable, PipelineError, SchemaOutdated

_ABSENT = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
)


@contextmanager
def explained() -> Iterator[None]:
    """Turn the driver's errors inside the block into ours.

    Raises
    ------
    PipelineError
        As :func:`explain` says.
    """
    try:
        yield
    except psycopg.Error as error:
        raise explain(error) from error


def explain(error: psycopg.Error) -> PipelineError:
    """Return our error for one of the driver's; its text is one line.

    Examples
    --------
    >>> explain(psycopg.errors.UndefinedTable('relation "event" does not exist'))
    SchemaOutdated('the database lacks tables: relation "event" does not exist; run `pipeline migrate`')
    """
    said = str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, _ABSENT):
        return SchemaOutdated(f"the database lacks tables: {said}; run `pipeline migrate`")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return PipelineError(f"the database refuses: {said}; grant the role pipeline_worker to this login")
    if isinstance(error, psycopg.OperationalError):
        return DatabaseUnavailable(f"the database did not finish: {said}")
    return PipelineError(f"the database refuses: {said}")

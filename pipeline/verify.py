"""Whether what is stored is everything, once, and rightly added up: by a simulator's ledger, or by the tables themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from pipeline import verify_queries as queries
from pipeline.core.errors import DatabaseUnavailable, SchemaOutdated, SettingsError
from pipeline.store.connect import SCHEMA, Connection, address, connect
from pipeline.verifying import ledger as ledgers
from pipeline.verifying.question import Bounds, Question
from pipeline.verifying.report import Verification
from pipeline.verifying.run import Run, Told

__all__ = ["Bounds", "Verification", "behind", "ledger_ends", "settled", "verify"]

_EVERYTHING = Bounds()


def _silent(_what: str, _done: int, _of: int | None) -> None:
    """Tell nobody."""


def verify(
    ledger: Path | None,
    dsn: str,
    *,
    schema: str = SCHEMA,
    group: str,
    window_ms: int = 60_000,
    delay_ms: int | None = None,
    bounds: Bounds = _EVERYTHING,
    told: Told = _silent,
) -> Verification:
    """Judge the tables, all in one snapshot of the database, by a ledger or by themselves.

    With a ledger it judges the tables as they are: ask :func:`behind` first whether the workers have caught up. Without one,
    workers may go on meanwhile. The database is only read, without locks and without temporary tables; what is read waits
    in files of the system's temporary folder, some 150 bytes a message of five readings. Memory is that of the largest part
    that machines are dealt into, so it grows with the busiest machine alone.

    Parameters
    ----------
    ledger
        What the simulator wrote; ``None``: none. A last line that is not complete yet is left out.
    group
        Consumer group whose dead letters and progress count, with a ledger.
    window_ms
        Length of the windows in ``reading_window``, ms.
    delay_ms
        The workers' ``windows.watermark_delay_ms``; ``None``: late messages are not counted.
    told
        Told how far it is.

    Raises
    ------
    SettingsError
        If the ledger is absent, empty or no ledger, or says of two messages that they lie at the same place; if nothing
        lies within the bounds; if the temporary folder takes no more.
    DatabaseUnavailable
        If the database does not answer.
    SchemaOutdated
        If a table or column is missing.
    """
    question = Question(ledger, group, window_ms, delay_ms, bounds)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="pipeline-verify-") as folder,
            _session(dsn, schema) as connection,
            connection.transaction(),
        ):
            return Run(question, connection, Path(folder), told).judge()
    except OSError as error:
        raise SettingsError(f"{tempfile.gettempdir()} takes no more: {error.strerror}; set TMPDIR") from error


def ledger_ends(ledger: Path) -> dict[tuple[str, int], int]:
    """Return the highest offset of every (topic, partition) in a ledger.

    Raises
    ------
    SettingsError
        If the ledger is absent, empty or no ledger.
    """
    ends: dict[tuple[bytes, bytes], int] = {}
    with ledgers.opened(ledger) as lines:
        for line in lines:
            if line.endswith(b"\n"):
                topic, partition, offset, _ = line.split(b",", 3)
                ends[topic, partition] = max(int(offset), ends.get((topic, partition), -1))
    return {(topic.decode(), int(partition)): end for (topic, partition), end in ends.items()}


def behind(ledger_ends: Mapping[tuple[str, int], int], dsn: str, group: str, *, schema: str = SCHEMA) -> int:
    """Return how many records are still to be stored, events or windows, up to the highest offsets of a ledger.

    A partition that has no mark yet counts from offset 0, so the number may be too large, but it is 0 only when all is
    stored. If several clusters have the same topic, the one that is furthest behind counts.

    Parameters
    ----------
    ledger_ends
        Highest offset by (topic, partition), as from :func:`ledger_ends`.
    """
    with _session(dsn, schema) as connection:
        rows = connection.execute(queries.BEHIND, {"group": group})
        marks = {(topic, partition): mark for topic, partition, mark in rows}
    return sum(max(0, end + 1 - marks.get(source, 0)) for source, end in ledger_ends.items())


def settled(ledger_ends: Mapping[tuple[str, int], int], dsn: str, group: str, *, schema: str = SCHEMA) -> bool:
    """Return whether the workers have stored everything up to the highest offsets of a ledger, windows too."""
    return behind(ledger_ends, dsn, group, schema=schema) == 0


@contextmanager
def _session(dsn: str, schema: str) -> Iterator[Connection]:
    """Open a connection that looks into a schema; errors become our own."""
    with connect(dsn, autocommit=True, application_name="pipeline verify") as connection:
        try:
            connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(schema)))
            yield connection
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise SchemaOutdated(f"the schema {schema} lacks tables: {_line(error)}; run `pipeline migrate`") from error
        except psycopg.Error as error:
            raise DatabaseUnavailable(f"the database at {address(dsn)} does not compare: {_line(error)}") from error


def _line(error: psycopg.Error) -> str:
    return str(error).partition("\n")[0] or type(error).__name__

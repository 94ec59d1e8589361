"""Whether what is stored is everything, once, and rightly added up: by a simulator's ledger, or by the tables themselves."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import SettingsError
from pipeline.core.windowing.windows import BASE_MS
from pipeline.store.connect import Connection, address, connect
from pipeline.store.failures import worded
from pipeline.store.migrate import require_schema
from pipeline.verifying import ledger as ledgers
from pipeline.verifying import queries
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
    group: str,
    window_ms: int = BASE_MS,
    delay_ms: int | None = None,
    bounds: Bounds = _EVERYTHING,
    told: Told = _silent,
) -> Verification:
    """Judge the tables, all in one snapshot of the database, by a ledger or by themselves.

    With a ledger it judges the tables as they are: ask :func:`behind` first whether the workers have caught up. Without one,
    workers may go on meanwhile. The database is only read, and let go before anything is judged; what is read waits
    in files of the system's temporary folder, 150 to 200 bytes a message of five readings. Memory is that of the largest part
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
        If the ledger cannot be read, is empty or no ledger, or says of two messages that they lie at the same place; if
        nothing lies within the bounds; if the temporary folder takes no more.
    DatabaseUnavailable
        If the database does not answer.
    SchemaOutdated
        If migrations are missing, or the right to read a table.
    """
    question = Question(ledger, group, window_ms, delay_ms, bounds)
    with _temporary_folder() as folder:
        run = Run(question, folder, told)
        with _session(dsn) as connection, connection.transaction():
            run.read(connection)
        return run.judge()


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


def behind(ledger_ends: Mapping[tuple[str, int], int], dsn: str, group: str) -> int:
    """Return how many records are still to be stored, events or windows, up to the highest offsets of a ledger.

    A partition that has no mark yet counts from offset 0, so the number may be too large, but it is 0 only when all is
    stored. If several clusters have the same topic, the one that is furthest behind counts.

    Parameters
    ----------
    ledger_ends
        Highest offset by (topic, partition), as from :func:`ledger_ends`.
    """
    with _session(dsn) as connection:
        rows = connection.execute(queries.BEHIND, {"group": group})
        marks = {(topic, partition): mark for topic, partition, mark in rows}
    return sum(max(0, end + 1 - marks.get(source, 0)) for source, end in ledger_ends.items())


def settled(ledger_ends: Mapping[tuple[str, int], int], dsn: str, group: str) -> bool:
    """Return whether the workers have stored everything up to the highest offsets of a ledger, windows too."""
    return behind(ledger_ends, dsn, group) == 0


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Give an empty folder for as long as it is needed; that it takes no more becomes an error of our own."""
    try:
        made = tempfile.TemporaryDirectory(prefix="pipeline-verify-")
    except OSError as error:
        raise SettingsError(
            f"no temporary folder can be made: {error.strerror}; set TMPDIR to one that is there"
        ) from error
    with made as folder:
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise SettingsError(f"{tempfile.gettempdir()} takes no more: {error.strerror}; set TMPDIR") from error


@contextmanager
def _session(dsn: str) -> Iterator[Connection]:
    """Open a connection to a database that is up to date; errors become our own."""
    with connect(dsn, autocommit=True, application_name="pipeline verify") as connection:
        require_schema(connection)
        with worded(f"the database at {address(dsn)} was not read"):
            yield connection

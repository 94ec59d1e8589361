"""Whether what the simulator's ledger says is in the database: everything, once, and rightly added up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipeline import verify_queries as queries
from pipeline.core.banks import MEMORY
from pipeline.core.errors import DatabaseUnavailable, SchemaOutdated, SettingsError
from pipeline.store.connect import SCHEMA, Connection, address, connect

_BLOCK_BYTES = 1 << 20
_EXAMPLES = 5
_HEADER = queries.COLUMNS.encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Verification:
    """A ledger compared with the tables; numbers of messages unless said otherwise.

    ``sent = stored + lost + refused + dead_letters +`` the device duplicates that were dropped.

    Parameters
    ----------
    sent
        Rows of the ledger, garbage and duplicates included.
    stored
        Of those, the ones that are in ``event``.
    lost
        Neither in ``event`` nor a dead letter, and no duplicate that was rightly dropped. A message of which every copy
        is missing is lost once.
    doubled
        Rows of ``event`` too many: of a source key that is there already, or of a device's duplicate that the fold
        remembered (its memory is :data:`pipeline.core.banks.MEMORY` accepted messages of the machine).
    unexpected
        Rows of ``event`` from the ledger's topics that are not in it, or have another machine or event time, or are
        garbage.
    device_duplicates
        Messages whose machine had sent the same seq and event time into the same partition before.
    unverified
        Of those, the ones that were rightly accepted: the fold could not remember them any more.
    dead_letters
        Garbage that is a dead letter, as it should be.
    refused
        Sound messages that became dead letters.
    windows, windows_wrong
        Rows of ``reading_window`` for the ledger's machines; those that differ from the stored messages' readings (count,
        min, max; mean and standard deviation by more than 1e-9 · max(abs(mean), sd)), are absent, or are too many.
    anomalies, anomalies_true, anomalies_found
        Rows of ``anomaly`` from the ledger's topics; readings of stored messages that the plant made odd; those of them
        that have a row of the same sensor and kind.
    latency_ms
        From the broker's time of a record to the commit of its row, ms: p50, p95, p99, max; ``None`` if nothing is stored.
    examples
        The first few defects of each sort, as ``topic:partition:offset:index machine`` or machine, sensor, window.
    notes
        What must be known to read the numbers.
    """

    sent: int
    stored: int
    lost: int
    doubled: int
    unexpected: int
    device_duplicates: int
    unverified: int
    dead_letters: int
    refused: int
    windows: int
    windows_wrong: int
    anomalies: int
    anomalies_true: int
    anomalies_found: int
    latency_ms: dict[str, float] | None
    examples: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether everything is there, once, and rightly added up."""
        return self.lost == self.doubled == self.unexpected == self.windows_wrong == 0

    @property
    def summary(self) -> dict[str, Any]:
        """All of it, as JSON can say it."""
        return {"holds": self.holds, **asdict(self), "examples": list(self.examples), "notes": list(self.notes)}


def verify(ledger: Path, dsn: str, *, schema: str = SCHEMA, group: str, window_ms: int = 60_000) -> Verification:
    """Compare a ledger with the tables, all in one snapshot of the database.

    It judges the tables as they are: ask :func:`behind` first whether the workers have caught up. The database gets the
    ledger as a temporary table that is gone afterwards; this process holds a megabyte of it at a time.

    Parameters
    ----------
    ledger
        What the simulator wrote. A last line that is not complete yet is left out.
    group
        Consumer group whose dead letters and progress count.
    window_ms
        Length of the windows in ``reading_window``, ms.

    Raises
    ------
    SettingsError
        If the ledger is absent, empty or no ledger, or says of two messages that they lie at the same place.
    DatabaseUnavailable
        If the database does not answer.
    SchemaOutdated
        If a table or column is missing.
    """
    with _lines(ledger) as lines, _session(dsn, schema) as connection, connection.transaction():
        connection.execute(queries.BEGIN)
        _load(connection, ledger, lines)
        return _compare(connection, {"group": group, "window_ms": window_ms, "memory": MEMORY, "most": _EXAMPLES})


def ledger_ends(ledger: Path) -> dict[tuple[str, int], int]:
    """Return the highest offset of every (topic, partition) in a ledger.

    Raises
    ------
    SettingsError
        If the ledger is absent, empty or no ledger.
    """
    ends: dict[tuple[bytes, bytes], int] = {}
    with _lines(ledger) as lines:
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
def _lines(path: Path) -> Iterator[BinaryIO]:
    """Open a ledger after its header."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise SettingsError(f"the ledger {path} cannot be read: {error.strerror}") from error
    with file:
        header = file.readline()
        if header and header != _HEADER:
            raise SettingsError(f"{path} is not a ledger: its first line is not {queries.COLUMNS}")
        if not file.peek(1):
            raise SettingsError(f"the ledger {path} has no rows: nothing was sent yet")
        yield file


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


def _load(connection: Connection, path: Path, lines: BinaryIO) -> None:
    """Copy the complete rows of a ledger into the temporary table."""
    try:
        with connection.cursor() as cursor, cursor.copy(queries.COPY) as copy:
            rest = b""
            while block := lines.read(_BLOCK_BYTES):
                complete, newline, rest = (rest + block).rpartition(b"\n")
                copy.write(complete + newline)
        if connection.execute("SELECT FROM ledger LIMIT 1").fetchone() is None:
            raise SettingsError(f"the ledger {path} has no rows: nothing was sent yet")
        connection.execute(queries.SETTLE)
    except psycopg.errors.UniqueViolation as error:
        msg = f"the ledger {path} says the same place twice: a topic was recreated meanwhile; begin a new ledger"
        raise SettingsError(msg) from error
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise SettingsError(f"{path} is not a ledger: {_line(error)}") from error


def _compare(connection: Connection, parameters: Mapping[str, Any]) -> Verification:
    tracked = _one(connection, "SHOW track_commit_timestamp")["track_commit_timestamp"] == "on"
    connection.execute(queries.STORED_COMMITTED if tracked else queries.STORED_BEGUN)
    for statement in (queries.LETTERS, queries.VERDICTS, queries.WINDOWS):
        _run(connection, statement, parameters)
    numbers = (
        _one(connection, queries.MESSAGES)
        | _one(connection, queries.ANOMALIES)
        | _one(connection, queries.COMPARED)
        | _one(connection, "SELECT count(*) AS unexpected FROM stored WHERE line IS NULL")
    )
    note = "latency counts to the start of the storing transaction: the server has track_commit_timestamp off"
    return Verification(
        **numbers,
        latency_ms=_latency(connection),
        examples=tuple(text for (text,) in connection.execute(queries.EXAMPLES, parameters)),
        notes=() if tracked else (note,),
    )


def _latency(connection: Connection) -> dict[str, float] | None:
    row = connection.execute(queries.LATENCY).fetchone()
    if row is None or row[0] is None:
        return None
    return dict(zip(("p50", "p95", "p99", "max"), (round(ms, 3) for ms in row[0]), strict=True))


def _run(connection: Connection, statements: LiteralString, parameters: Mapping[str, Any]) -> None:
    """Run statements one by one: the protocol takes parameters only for a single one."""
    for statement in statements.split(";\n"):
        connection.execute(statement, parameters)


def _one(connection: Connection, statement: LiteralString) -> dict[str, Any]:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(statement).fetchone()
    assert row is not None  # noqa: S101  # aggregates always give a row
    return row


def _line(error: psycopg.Error) -> str:
    return str(error).partition("\n")[0] or type(error).__name__

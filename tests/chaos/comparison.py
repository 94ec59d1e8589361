"""The tables against the ledger, key by key, by DuckDB: nothing of the pipeline's code decides what should be there.

What the ledger says was sent is turned into what each table should hold; the tables come as CSV by COPY. Duplicates are
messages whose machine, partition, sequence number and event time came before among its last 64 accepted messages; a copy
that came later than that may be accepted or not, and what the table says is taken (``undecided`` counts them).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import psycopg
from psycopg import sql

from tests.chaos import spikes
from tests.chaos.comparison_queries import (
    ANOMALY,
    CSV,
    DEAD_LETTER,
    DECIDE,
    DERIVED_EVENT,
    EVENT,
    EXPORTS,
    LOAD_LEDGER,
    MACHINE_STATE,
    NUMBERS,
    READING_WINDOW,
    SENSORS,
)

_MACHINES_AT_ONCE = 2_000_000
_EXAMPLES = 5


@dataclass
class Compared:
    """One table compared: rows that should be there or are, those that differ by how they do, and a few of these."""

    rows: int
    wrong: dict[str, int]
    examples: list[str]

    @property
    def differing(self) -> int:
        """Rows that differ."""
        return sum(self.wrong.values())


@dataclass
class Comparison:
    """All tables compared.

    Parameters
    ----------
    messages, accepted, garbage, poisoned, duplicates, undecided
        Rows of the ledger, by what should become of them.
    lost, doubled
        Messages that should be in ``event`` or ``dead_letter`` and are not; rows that are there too often.
    skips, skips_otherwise
        Records that the workers decided to set aside, and those of them not because the fold failed. The ledger cannot tell
        whether they are due: whoever poisoned records must know how many.
    """

    messages: int
    accepted: int
    garbage: int
    poisoned: int
    duplicates: int
    undecided: int
    lost: int
    doubled: int
    skips: int
    skips_otherwise: int
    tables: dict[str, Compared]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return self.lost == self.doubled == sum(table.differing for table in self.tables.values()) == 0


def compare(ledger: Path, dsn: str, topic: str, group: str, folder: Path) -> Comparison:
    """Compare what a ledger says with the tables.

    Parameters
    ----------
    topic
        The ledger's only topic; rows of other topics are left out.
    folder
        Room for the exported tables and DuckDB's own files; twice the ledger's size. Removed files when done.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    export(dsn, topic, group, folder)
    with duckdb.connect(str(folder / "comparison.duckdb")) as duck:
        duck.execute(f"SET memory_limit = '4GB'; SET threads = 2; SET temp_directory = '{folder / 'spill'}'")
        duck.execute("SET preserve_insertion_order = false")
        duck.execute(LOAD_LEDGER, [str(ledger)])
        for name, (_, columns) in EXPORTS.items():
            duck.execute(
                f"CREATE TABLE stored_{name} AS SELECT * FROM read_csv(?, {CSV}, header = false, columns = {columns!r})",
                [str(folder / f"{name}.csv")],
            )
        for statement in DECIDE.split(";\n"):
            duck.execute(statement)
        _find_anomalies(duck)
        tables = {
            name: _differing(duck, query)
            for name, query in (
                ("event", EVENT),
                ("dead_letter", DEAD_LETTER),
                ("reading_window", READING_WINDOW),
                ("anomaly", ANOMALY),
                ("event of an anomaly", DERIVED_EVENT),
                ("machine_state", MACHINE_STATE),
            )
        }
        numbers = _numbers(duck)
    for left in folder.glob("*"):
        if left.is_file():
            left.unlink()
    return Comparison(**numbers, tables=tables, seconds=round(time.monotonic() - began, 1))


def export(dsn: str, topic: str, group: str, folder: Path) -> None:
    """Write each table as CSV, all in one snapshot of the database."""
    with psycopg.connect(dsn, options="-c search_path=telemetry -c timezone=UTC") as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for name, (query, _) in EXPORTS.items():
            with (folder / f"{name}.csv").open("wb") as file, connection.cursor() as cursor:
                copied = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(
                    sql.SQL(query).format(topic=sql.Literal(topic), group=sql.Literal(group))
                )
                with cursor.copy(copied) as copy:
                    for block in copy:
                        file.write(block)


def _find_anomalies(duck: duckdb.DuckDBPyConnection) -> None:
    """Fill ``expected_anomaly``, a stretch of machines at a time."""
    duck.execute(
        "CREATE TABLE expected_anomaly (number INT, partition INT, pos BIGINT, index INT, sensor INT, value DOUBLE,"
        " expected DOUBLE, score DOUBLE)"
    )
    ((machines, messages),) = duck.execute("SELECT count(DISTINCT number), count(*) FROM accepted").fetchall()
    step = max(1, int(machines * _MACHINES_AT_ONCE / max(messages, 1)))
    for first in range(0, machines, step):
        rows = duck.execute(
            f"SELECT number, partition, pos, index, {', '.join(SENSORS)} FROM accepted"
            " WHERE number >= ? AND number < ? ORDER BY number, partition, pos, index",
            [first, first + step],
        ).fetchnumpy()
        _insert_anomalies(duck, rows)


def _insert_anomalies(duck: duckdb.DuckDBPyConnection, rows: dict[str, Any]) -> None:
    values = np.column_stack([np.ma.filled(rows[name], np.nan) for name in SENSORS])
    found = spikes.flagged(np.asarray(rows["number"]), values)
    message, sensor = found["message"].astype(np.int64), found["sensor"].astype(np.int64)
    fresh = {name: np.asarray(rows[name])[message] for name in ("number", "partition", "pos", "index")}
    fresh |= {
        "sensor": sensor,
        "value": values[message, sensor],
        "expected": found["expected"],
        "score": found["score"],
    }
    duck.execute(
        "INSERT INTO expected_anomaly SELECT number, partition, pos, index, sensor, value, expected, score FROM fresh"
    )


def _differing(duck: duckdb.DuckDBPyConnection, query: str) -> Compared:
    duck.execute(f"CREATE OR REPLACE TEMP TABLE judged AS {query}")
    counted = dict(duck.execute("SELECT wrong, count(*) FROM judged GROUP BY wrong").fetchall())
    rows = sum(counted.values())
    counted.pop(None, None)
    examples = duck.execute(
        "SELECT wrong || ' ' || key FROM judged WHERE wrong IS NOT NULL ORDER BY key LIMIT ?", [_EXAMPLES]
    ).fetchall()
    return Compared(rows, counted, [text for (text,) in examples])


def _numbers(duck: duckdb.DuckDBPyConnection) -> dict[str, int]:
    names: Sequence[str] = (
        "messages", "accepted", "garbage", "poisoned", "duplicates", "undecided", "lost", "doubled",
        "skips", "skips_otherwise",
    )  # fmt: skip
    (row,) = duck.execute(NUMBERS).fetchall()
    return dict(zip(names, map(int, row), strict=True))

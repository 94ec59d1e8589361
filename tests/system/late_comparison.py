"""Views of the dashboards against what DuckDB makes of a ledger: every row, in both directions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa

from tests.store.oee_computed import Known, computed, counting
from tests.store.quality import Report
from tests.system.late_expected import EXPECTED, PREPARE
from tests.system.late_plant import LINES, SENSORS, SHIFTS, SKUS, ZONES, Sent

EQUAL = frozenset({"min", "max", "last"})
"""Columns that are equal; all other numbers that are not whole are the same within 1e-9, relative."""

_INSTANTS = frozenset({
    "event_time", "ingest_time", "last_seen", "window_start", "window_end", "last_time", "started", "ended", "duration",
    "period_start", "period_end", "reported_at", "starts_at", "ends_at",
})  # fmt: skip
_OEE_KEY = ("machine_id", "factory_id", "line_id", "sku", "shift_id", "date")
_WHERE = {"event": "event_type = 'Telemetry Ingest'"}
_SHOWN = 3


def differing(records: Sequence[Sent], stored: psycopg.Connection, folder: Path) -> tuple[dict[str, int], list[str]]:
    """Return how many rows every view should have, and a few of the rows that differ, with both of their sides."""
    rows, found = {}, []
    with duckdb.connect() as duck:
        for view, key in _expect(duck, records).items():
            _fetch(duck, stored, view, folder / f"{view}.csv")
            ((rows[view],),) = duck.execute(f"SELECT count(*) FROM due_{view}").fetchall()
            found += _differing(duck, view, key)
    return rows, found


def _expect(duck: duckdb.DuckDBPyConnection, records: Sequence[Sent]) -> dict[str, tuple[str, ...]]:
    """Make a table ``due_…`` for each view; return the columns of their keys."""
    duck.register("sent", _telemetry(records))
    duck.execute("CREATE TABLE ledger AS SELECT * FROM sent")
    for statement in PREPARE.split(";\n"):
        duck.execute(statement)
    keys = {}
    for view, (key, query) in EXPECTED.items():
        duck.execute(f"CREATE TABLE due_{view} AS {query}")
        keys[view] = tuple(key.split(", "))
    known, reports = _known(records)
    duck.register("reports", reports)
    duck.execute("CREATE TABLE due_quality_report AS SELECT * FROM reports")
    keys["quality_report"] = ("partition", "source_offset")
    for view, expected in computed(known).items():
        duck.register("made", expected.to_arrow_table())
        duck.execute(f"CREATE TABLE due_{view} AS SELECT * FROM made")
        keys[view] = tuple(name for name in _OEE_KEY if name in expected.columns)
    return keys


def _telemetry(records: Sequence[Sent]) -> pa.Table:
    some = [each for each in records if each.kind == "telemetry"]
    columns: dict[str, list[Any]] = {
        "partition": [each.partition for each in some],
        "pos": [each.offset for each in some],
        "arrives_ms": [each.arrives_ms for each in some],
    }
    for name in ("machine_id", "factory_id", "seq", "time_ms", *SENSORS):
        columns[name] = [each.says.get(name) for each in some]
    return pa.table(columns)


def _known(records: Sequence[Sent]) -> tuple[Known, pa.Table]:
    """Return what effectiveness is computed from, and what ``quality_report`` should have."""
    some = [each for each in records if each.kind == "quality"]
    reports = [
        Report(
            **each.says | {name: _instant(each.says[name]) for name in ("period_start", "period_end")}, number=number
        )
        for number, each in enumerate(some)
    ]
    counts = {each.number for each in counting(reports)}
    rows = [
        {"partition": each.partition, "source_offset": each.offset, "reported_at": each.arrives_ms, **each.says}
        | {"counts": number in counts}
        for number, each in enumerate(some)
    ]
    return Known(reports, len(reports), ZONES, SHIFTS, LINES, SKUS), pa.Table.from_pylist(rows)


def _instant(time_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)


def _fetch(duck: duckdb.DuckDBPyConnection, stored: psycopg.Connection, view: str, file: Path) -> None:
    """Make a table ``stored_…`` of what a view has, with the columns that are expected of it."""
    types = {name: kind for name, kind, *_ in duck.execute(f"DESCRIBE due_{view}").fetchall()}
    columns = ", ".join(
        f'(extract(epoch FROM "{name}") * 1000)::bigint' if name in _INSTANTS else f'"{name}"' for name in types
    )
    query = f"SELECT {columns} FROM dashboard.{view} WHERE {_WHERE.get(view, 'true')}"
    with file.open("wb") as out, stored.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT csv)") as blocks:
        for block in blocks:
            out.write(block)
    duck.execute(
        f"CREATE TABLE stored_{view} AS SELECT * FROM read_csv(?, auto_detect = false, header = false, delim = ',',"
        f""" quote = '"', escape = '"', allow_quoted_nulls = false, columns = {types!r})""",
        [str(file)],
    )


def _differing(duck: duckdb.DuckDBPyConnection, view: str, key: tuple[str, ...]) -> list[str]:
    types = {name: kind for name, kind, *_ in duck.execute(f"DESCRIBE due_{view}").fetchall()}
    keys = ", ".join(f'"{name}"' for name in key)
    other = " OR ".join(
        f'(abs(due."{name}" - stored."{name}") <= 1e-9 * greatest(abs(due."{name}"), abs(stored."{name}"))'
        f' OR (due."{name}" IS NULL AND stored."{name}" IS NULL)) IS NOT TRUE'
        if kind == "DOUBLE" and name not in EQUAL
        else f'due."{name}" IS DISTINCT FROM stored."{name}"'
        for name, kind in types.items()
    )
    duck.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE difference AS
        SELECT CASE WHEN stored."{key[0]}" IS NULL THEN 'missing' WHEN due."{key[0]}" IS NULL THEN 'unexpected'
                    ELSE 'different' END AS how, due, stored
        FROM due_{view} AS due FULL JOIN stored_{view} AS stored USING ({keys}) WHERE {other}
        UNION ALL
        SELECT 'doubled', NULL, any_value(stored) FROM stored_{view} AS stored GROUP BY {keys} HAVING count(*) > 1
        """
    )
    ((total,),) = duck.execute("SELECT count(*) FROM difference").fetchall()
    shown = duck.execute("SELECT how, due, stored FROM difference ORDER BY ALL LIMIT ?", [_SHOWN]).fetchall()
    return [f"{view}, one of {total}: {how}\n  due    {due}\n  stored {stored}" for how, due, stored in shown]

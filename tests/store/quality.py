"""Quality reports and the plant's metadata as rows, for tests of what is made of them."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.store.connect import Connection
from pipeline.store.oee import refresh

_NUMBERS = itertools.count()


def at(text: str) -> dt.datetime:
    """Return a time of UTC from text as ``2026-03-02 06:00``."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@dataclass(frozen=True)
class Report:
    """A row of ``quality_report``; every one that is made is made later than those before."""

    machine_id: str
    period_start: dt.datetime
    period_end: dt.datetime
    factory_id: str = "f"
    line_id: str = ""
    sku: str = "s"
    good: int = 300
    snag: int = 20
    reject: int = 10
    planned_s: float = 900.0
    run_s: float = 720.0
    ideal_cycle_s: float = 2.0
    number: int = field(default_factory=lambda: next(_NUMBERS))

    @property
    def reported_at(self) -> dt.datetime:
        return at("2026-01-01 00:00") + dt.timedelta(seconds=self.number)


def report(machine: str, start: str, minutes: float = 15, **changed: Any) -> Report:
    """Return a report of a period that begins at a time of UTC."""
    begins = at(start)
    return replace(Report(machine, begins, begins + dt.timedelta(minutes=minutes)), **changed)


def store(connection: Connection, *reports: Report) -> None:
    """Add reports, one statement for all of them."""
    names = list(Report.__dataclass_fields__)[:-1]
    rows = [
        [getattr(each, name) for name in names]
        + [each.reported_at, uuid.uuid4(), "c", "mes.quality", 0, each.number, 0]
        for each in reports
    ]
    columns = (
        ", ".join(names)
        + ", reported_at, event_id, cluster, source_topic, source_partition, source_offset, source_index"
    )
    places = ", ".join(["(" + ", ".join(["%s"] * (len(names) + 7)) + ")"] * len(rows))
    connection.execute(f"INSERT INTO quality_report ({columns}) VALUES {places}", [v for row in rows for v in row])


def rewrite(connection: Connection, other: Report) -> None:
    """Put another report in the place of the one with its number, as a topic that was made anew does."""
    names = list(Report.__dataclass_fields__)[:-1]
    changes = ", ".join(f"{name} = %s" for name in names)
    values = [getattr(other, name) for name in names]
    connection.execute(f"UPDATE quality_report SET {changes} WHERE source_offset = %s", [*values, other.number])


def withdraw(connection: Connection, *reports: Report) -> None:
    """Take reports away, as a promotion or retention does."""
    connection.execute("DELETE FROM quality_report WHERE source_offset = ANY(%s)", [[each.number for each in reports]])


def entity(connection: Connection, kind: str, which: str, *, removed: bool = False, **body: Any) -> None:
    """Add or change one thing of the plant's metadata, as a command that was applied leaves it behind."""
    number = next(_NUMBERS)
    columns = {
        "cluster": "c", "consumer_group": "g", "source_topic": "metadata.command", "source_partition": 0,
        "source_offset": number, "source_index": 0, "command_id": f"command-{number}", "entity": kind, "entity_id": which,
        "action": "remove" if removed else "change", "expected_version": number - 1, "status": "applied", "reason": "",
        "version": number, "is_change": True, "body": json.dumps(body), "machine_id": "", "factory_id": "",
        "event_time": at("2026-01-01 00:00"), "ingest_time": at("2026-01-01 00:00"), "event_id": uuid.uuid4(),
    }  # fmt: skip
    places = ", ".join(["%s"] * len(columns))
    connection.execute(f"INSERT INTO metadata_command ({', '.join(columns)}) VALUES ({places})", list(columns.values()))


def sum_up(connection: Connection) -> None:
    """Bring everything up to date."""
    assert any(refresh(connection) == 0 for _ in range(1000)), "it comes to no end"


def rows(connection: Connection, query: str, *parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of a query by the names of their columns."""
    cursor = connection.execute(query, parameters)
    assert cursor.description is not None
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def one(connection: Connection, query: str, *parameters: Any) -> dict[str, Any]:
    """Return the one row of a query."""
    (row,) = rows(connection, query, *parameters)
    return row

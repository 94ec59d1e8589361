"""Dead letters as people see them: list, show, take for requeueing."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from pipeline.store.connect import Connection

Header = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """One row of ``dead_letter``.

    Parameters
    ----------
    record_time
        Broker's time of the record, UTC.
    """

    cluster: str
    consumer_group: str
    source_topic: str
    source_partition: int
    source_offset: int
    source_index: int
    reason: str
    detail: str
    key: bytes
    body: bytes
    headers: list[list[Any]]
    record_time: dt.datetime
    stored_time: dt.datetime
    requeued_at: dt.datetime | None

    @property
    def place(self) -> str:
        """Where the record is, as the command line writes and reads it: ``topic:partition:offset:index``."""
        return f"{self.source_topic}:{self.source_partition}:{self.source_offset}:{self.source_index}"

    @property
    def raw_headers(self) -> list[Header]:
        """The record's headers as they came."""
        return [(name, _raw(value)) for name, value in self.headers]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters.

    Parameters
    ----------
    cluster, group
        Whose.
    topic, reason
        Only of this topic or reason; ``None``: of all.
    place
        Only this one: topic, partition, offset, index.
    requeued
        Also those that were requeued already.
    """

    cluster: str
    group: str
    topic: str | None = None
    reason: str | None = None
    place: tuple[str, int, int, int] | None = None
    requeued: bool = False

    def condition(self) -> tuple[sql.Composable, list[Any]]:
        """Return the condition of a query and its parameters."""
        terms, values = ["cluster = %s", "consumer_group = %s"], [self.cluster, self.group]
        parameters: list[Any] = list(values)
        for column, value in (("source_topic", self.topic), ("reason", self.reason)):
            if value is not None:
                terms.append(f"{column} = %s")
                parameters.append(value)
        if self.place is not None:
            terms.append("(source_topic, source_partition, source_offset, source_index) = (%s, %s, %s, %s)")
            parameters.extend(self.place)
        if not self.requeued:
            terms.append("requeued_at IS NULL")
        return sql.SQL(" AND ".join(terms)), parameters


_COLUMNS = sql.SQL(
    "cluster, consumer_group, source_topic, source_partition, source_offset, source_index, reason, detail, key, body,"
    " headers, record_time, stored_time, requeued_at"
)


def find(connection: Connection, selection: Selection, limit: int) -> list[StoredLetter]:
    """Return the newest dead letters of a selection, at most ``limit``."""
    condition, parameters = selection.condition()
    query = sql.SQL("SELECT {} FROM dead_letter WHERE {} ORDER BY stored_time DESC, source_offset DESC LIMIT %s")
    with connection.cursor(row_factory=class_row(StoredLetter)) as cursor:
        return cursor.execute(query.format(_COLUMNS, condition), [*parameters, limit]).fetchall()


@contextmanager
def taken(connection: Connection, selection: Selection, limit: int) -> Iterator[list[StoredLetter]]:
    """Give the oldest dead letters of a selection, locked; mark them as requeued when the block ends without an error.

    Two who requeue at the same time get different ones. When the block's work was done and the mark is lost (the
    connection breaks in between), they can be taken again: requeueing is at least once.
    """
    condition, parameters = selection.condition()
    query = sql.SQL(
        "SELECT {} FROM dead_letter WHERE {} ORDER BY stored_time, source_offset LIMIT %s FOR UPDATE SKIP LOCKED"
    )
    with connection.transaction(), connection.cursor(row_factory=class_row(StoredLetter)) as cursor:
        letters = cursor.execute(query.format(_COLUMNS, condition), [*parameters, limit]).fetchall()
        yield letters
        cursor.executemany(
            "UPDATE dead_letter SET requeued_at = clock_timestamp() WHERE (cluster, consumer_group, source_topic,"
            " source_partition, source_offset, source_index) = (%s, %s, %s, %s, %s, %s)",
            [
                (x.cluster, x.consumer_group, x.source_topic, x.source_partition, x.source_offset, x.source_index)
                for x in letters
            ],
        )


def readable_headers(headers: Sequence[Header]) -> list[list[Any]]:
    """Return headers as JSON: text where the bytes are printable UTF-8, else ``{"base64": …}``.

    Examples
    --------
    >>> readable_headers([("type", b"machine"), ("iothub-enqueuedtime", bytes([0x83, 0]))])
    [['type', 'machine'], ['iothub-enqueuedtime', {'base64': 'gwA='}]]
    """
    return [[_printable(name), _readable(value)] for name, value in headers]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _readable(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    return text if text.isprintable() else {"base64": base64.b64encode(value).decode()}


def _raw(value: Any) -> bytes | None:
    if value is None:
        return None
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else str(value).encode()

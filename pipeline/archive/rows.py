"""Rows of ``event``: out of the database a batch at a time, and into Parquet files by factory and day."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg import sql
from pyarrow import csv

from pipeline.archive.ids import checksum, halves
from pipeline.archive.layout import data_path
from pipeline.archive.manifests import DAY_US, HOUR_US, DataFile, HourSum
from pipeline.archive.place import Place
from pipeline.core.errors import PipelineError
from pipeline.core.records import SourcePartition
from pipeline.store.identity import Uuids, event_ids, seed

ROWS_AT_ONCE = 1_000_000
BYTES_AT_ONCE = 128_000_000

_TIME = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_type", pa.string()),
        ("entity_type", pa.string()),
        ("entity_id", pa.string()),
        ("machine_id", pa.string()),
        ("factory_id", pa.string()),
        ("event_time", _TIME),
        ("ingest_time", _TIME),
        ("stored_time", _TIME),
        ("source_topic", pa.string()),
        ("source_partition", pa.int32()),
        ("source_offset", pa.int64()),
        ("source_index", pa.int32()),
        ("body", pa.string()),
    ]
)
"""Exactly the columns of ``event``."""

_REPEATED = [
    "event_type", "entity_type", "machine_id", "factory_id", "stored_time", "source_topic", "source_partition", "source_index",
]  # fmt: skip
_GROUP_ROWS = 131_072

# The offset comes first: where a batch may end is seen without reading the rest of the row
_COPIED = pa.schema([SCHEMA.field("source_offset"), *(field for field in SCHEMA if field.name != "source_offset")])
_COPY = sql.SQL(
    "COPY (SELECT {columns} FROM {relation} WHERE {condition} ORDER BY source_offset, source_index, stored_time)"
    " TO STDOUT (FORMAT csv, ENCODING 'UTF8')"
)
_COLUMNS = sql.SQL(", ").join(map(sql.Identifier, _COPIED.names))


def of_partition(source: SourcePartition) -> sql.Composed:
    """Return the condition on the rows of a source partition."""
    return sql.SQL("source_topic = {} AND source_partition = {}").format(*map(sql.Literal, source))


def batches(
    connection: psycopg.Connection[Any],
    relation: str,
    condition: sql.Composable,
    *,
    rows_at_once: int = ROWS_AT_ONCE,
    bytes_at_once: int = BYTES_AT_ONCE,
) -> Iterator[pa.Table]:
    """Yield rows by rising (offset, index), many at a time; all rows of one offset are in one batch.

    Parameters
    ----------
    relation
        ``event``, or a table with its columns.
    rows_at_once, bytes_at_once
        A batch ends with the offset that comes to one of these.
    """
    statement = _COPY.format(columns=_COLUMNS, relation=sql.Identifier(relation), condition=condition)
    held: list[bytes] = []
    size, last = 0, b""
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        # The server sends every row by itself
        for row in copy:
            if len(held) >= rows_at_once or size >= bytes_at_once:
                offset = bytes(row[:20]).partition(b",")[0]
                last = last or held[-1][:20].partition(b",")[0]
                if offset != last:
                    yield as_table(held, _COPIED).select(SCHEMA.names)
                    size, last = 0, b""
            held.append(bytes(row))
            size += len(row)
    if held:
        yield as_table(held, _COPIED).select(SCHEMA.names)


def as_table(lines: list[bytes], schema: pa.Schema) -> pa.Table:
    """Return what COPY gave as a table, and forget the lines; ``schema`` has the columns in that order, none of them null."""
    raw = b"".join(lines)
    # Both at once would be twice the memory
    lines.clear()
    try:
        return csv.read_csv(
            pa.BufferReader(raw),
            csv.ReadOptions(column_names=schema.names, use_threads=False, block_size=len(raw) + 1),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(
                column_types=schema, strings_can_be_null=False, null_values=[], timestamp_parsers=[csv.ISO8601]
            ),
        )
    except pa.ArrowInvalid as error:
        raise PipelineError(f"a row of the database does not fit into Parquet: {error}") from error


def chosen(table: pa.Table, which: npt.NDArray[np.bool_]) -> pa.Table:
    """Return some rows, without a copy if it is all of them."""
    return table if which.all() else table.filter(pa.array(which))


def micros(table: pa.Table, column: str) -> npt.NDArray[np.int64]:
    """Return a column of times in µs since the epoch, shape (n,)."""
    values: npt.NDArray[np.int64] = table[column].cast(pa.int64()).to_numpy()
    return values


def ids_of(table: pa.Table) -> Uuids:
    """Return the rows' own ids."""
    return halves(table["event_id"])


def are_of(table: pa.Table, cluster: str, source: SourcePartition) -> npt.NDArray[np.bool_]:
    """Return which rows come from this cluster's partition, shape (n,).

    Another cluster may have a topic of the same name, and no column tells. But what derives from a message carries its id, and
    that is made from the cluster's name.
    """
    entity = halves(table["entity_id"])
    offsets, indexes = table["source_offset"].to_numpy(), table["source_index"].to_numpy()
    own = np.array([seed(cluster, source)], np.uint64)
    wanted = event_ids(own, micros(table, "event_time") // 1000, offsets, indexes)
    of_it: npt.NDArray[np.bool_] = (entity.high == wanted.high) & (entity.low == wanted.low)
    return of_it


def parts(table: pa.Table, name: str) -> list[tuple[str, pa.Table]]:
    """Return the rows of every factory and day with the path of the file that they belong to.

    Parameters
    ----------
    table
        By rising (offset, index); at least one row.
    name
        Of the slice or remainder.
    """
    factories = pc.dictionary_encode(table["factory_id"].combine_chunks())
    days = micros(table, "event_time") // DAY_US
    number = factories.indices.to_numpy().astype(np.int64)
    order = np.lexsort((days, number))
    begins = np.flatnonzero(np.r_[True, (np.diff(number[order]) != 0) | (np.diff(days[order]) != 0)])
    found = []
    for rows in np.split(order, begins[1:]):
        factory, day = factories.dictionary[int(number[rows[0]])].as_py(), _date(int(days[rows[0]]))
        found.append((data_path(name, factory, day), table if len(rows) == len(table) else table.take(rows)))
    return found


def write(place: Place, path: str, part: pa.Table) -> DataFile:
    """Write the rows of one factory and day; return what a manifest is to say of them."""
    output = pa.BufferOutputStream()
    pq.write_table(part, output, compression="zstd", use_dictionary=_REPEATED, row_group_size=_GROUP_ROWS)
    content = output.getvalue().to_pybytes()
    place.write(path, content)
    hours = (micros(part, "event_time") % DAY_US) // HOUR_US
    ids, offsets = ids_of(part), part["source_offset"].to_numpy()
    each_hour = [(int(hour), hours == hour) for hour in np.unique(hours)]
    return DataFile(
        path=path,
        factory=part["factory_id"][0].as_py(),
        day=_date(int(micros(part, "event_time")[0] // DAY_US)),
        rows=len(part),
        offset_min=int(offsets.min()),
        offset_max=int(offsets.max()),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        checksum=f"{checksum(ids):016x}",
        hours=tuple(
            HourSum(hour, int(of_it.sum()), f"{checksum(Uuids(ids.high[of_it], ids.low[of_it])):016x}")
            for hour, of_it in each_hour
        ),
    )


def _date(day: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days=day)

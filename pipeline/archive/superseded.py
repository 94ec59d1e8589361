"""The table ``superseded_event`` beside the archived events: which of them count no more."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from pipeline.archive.ids import halves
from pipeline.archive.layout import SUPERSEDED, SUPERSEDED_MANIFEST
from pipeline.archive.manifests import FORMAT, encode
from pipeline.archive.place import Place
from pipeline.archive.rows import as_table
from pipeline.core.errors import ArchiveDamaged
from pipeline.store.identity import Uuids

Connection = psycopg.Connection[Any]

_TIME = pa.timestamp("us", "UTC")
_SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_time", _TIME),
        ("stored_from", _TIME),
        ("stored_to", _TIME),
        ("promotion", pa.int64()),
    ]
)

# Infinite times have no place in Parquet
_ROWS = """
SELECT event_id, event_time, GREATEST(stored_from, '0001-01-01 00:00:00+00') AS stored_from,
       LEAST(stored_to, '9999-12-31 00:00:00+00') AS stored_to, promotion
FROM superseded_event
"""
# Also of a promotion that superseded nothing: it may have added events
_STATE = f"""
SELECT p.number, md5(concat_ws(' ', p.undone_at, count(r.event_id),
                               sum(hashtextextended(concat_ws(' ', event_id, event_time, stored_from, stored_to), 0))))
FROM promotion AS p LEFT JOIN ({_ROWS}) AS r ON r.promotion = p.number GROUP BY p.number ORDER BY p.number
"""
_COPY = sql.SQL(f"COPY (SELECT * FROM ({_ROWS}) AS r WHERE promotion = {{}} ORDER BY event_id) TO STDOUT (FORMAT csv)")
_BYTES_AT_ONCE = 64_000_000


class PromotionFile(msgspec.Struct, frozen=True):
    """What one promotion superseded; ``state`` changes with any of its rows."""

    promotion: int
    path: str
    rows: int
    bytes: int
    sha256: str
    state: str


class SupersededManifest(msgspec.Struct, frozen=True):
    """All promotions that superseded anything, as the table was when this was written."""

    format: int
    written_at: dt.datetime
    promotions: list[PromotionFile]


def manifest(place: Place) -> SupersededManifest:
    """Return what the archive has; raises :class:`ArchiveDamaged` if that cannot be read."""
    try:
        return msgspec.json.decode(place.read(SUPERSEDED_MANIFEST), type=SupersededManifest)
    except FileNotFoundError:
        return SupersededManifest(FORMAT, dt.datetime.min.replace(tzinfo=dt.UTC), [])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArchiveDamaged(
            f"the manifest {SUPERSEDED_MANIFEST} cannot be read: {error}; delete it, and it is written again"
        ) from error


def states(connection: Connection) -> dict[int, str]:
    """Return what stands for the rows of each promotion in the table."""
    return dict(connection.execute(_STATE).fetchall())


def changed(place: Place, found: dict[int, str]) -> list[int]:
    """Return the promotions that the archive has in another state, or not."""
    known = {file.promotion: file.state for file in manifest(place).promotions}
    return [promotion for promotion, state in found.items() if known.get(promotion) != state]


def archive(connection: Connection, place: Place, found: dict[int, str]) -> None:
    """Bring the archive to what the table held when its states were found."""
    before = manifest(place)
    known = {(file.promotion, file.state): file for file in before.promotions}
    after = [known.get(each) or _write(connection, place, *each) for each in found.items()]
    if after != before.promotions:
        place.write(SUPERSEDED_MANIFEST, encode(SupersededManifest(FORMAT, dt.datetime.now(dt.UTC), after)))
    # Also those that a killed run has left
    for path in set(place.files(SUPERSEDED)) - {file.path for file in after}:
        place.delete(path)


def _write(connection: Connection, place: Place, promotion: int, state: str) -> PromotionFile:
    output, rows = pa.BufferOutputStream(), 0
    with pq.ParquetWriter(output, _SCHEMA, compression="zstd") as writer:
        held: list[bytes] = []
        size = 0
        with connection.cursor() as cursor, cursor.copy(_COPY.format(promotion)) as copy:
            for row in copy:
                held.append(bytes(row))
                size += len(row)
                if size >= _BYTES_AT_ONCE:
                    rows, size = rows + len(held), 0
                    writer.write_table(as_table(held, _SCHEMA))
        rows += len(held)
        if held:
            writer.write_table(as_table(held, _SCHEMA))
    content = output.getvalue().to_pybytes()
    path = f"{SUPERSEDED}/promotion-{promotion}-{state[:16]}.parquet"
    place.write(path, content)
    return PromotionFile(promotion, path, rows, len(content), hashlib.sha256(content).hexdigest(), state)


class Superseded:
    """Which rows of ``event`` count no more, by id and time of storing. Holds 32 bytes for each.

    Parameters
    ----------
    ids
        Shape (n,).
    stored_from, stored_to
        Rows stored in ``[from, to)`` count no more, µs since the epoch; shape (n,).
    """

    def __init__(self, ids: Uuids, stored_from: npt.NDArray[np.int64], stored_to: npt.NDArray[np.int64]) -> None:
        order = np.argsort(ids.low, kind="stable")
        self._high, self._low = ids.high[order], ids.low[order]
        self._from, self._to = stored_from[order], stored_to[order]

    def __len__(self) -> int:
        return len(self._low)

    def contain(self, ids: Uuids, stored: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which rows count no more, shape (n,)."""
        begin, end = (np.searchsorted(self._low, ids.low, side) for side in ("left", "right"))
        found = np.zeros(len(stored), bool)
        # An id may have been superseded by several promotions, a few at most
        for turn in range(int((end - begin).max(initial=0))):
            at = np.flatnonzero(begin + turn < end)
            other = begin[at] + turn
            hit = (
                (self._high[other] == ids.high[at]) & (self._from[other] <= stored[at]) & (stored[at] < self._to[other])
            )
            found[at] |= hit
        return found

    @classmethod
    def of(cls, place: Place) -> Superseded:
        """Read them from an archive; raises :class:`ArchiveDamaged` if a file is missing or damaged."""
        tables = [_SCHEMA.empty_table(), *(_read(place, file) for file in manifest(place).promotions)]
        table = pa.concat_tables(tables)
        times = [table[name].cast(pa.int64()).to_numpy() for name in ("stored_from", "stored_to")]
        return cls(halves(table["event_id"]), *times)


def _read(place: Place, file: PromotionFile) -> pa.Table:
    try:
        content = place.read(file.path)
    except FileNotFoundError:
        raise ArchiveDamaged(
            f"{file.path} is not in the archive: delete {SUPERSEDED_MANIFEST}, and archive again"
        ) from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ArchiveDamaged(f"{file.path} is not what was written: delete {SUPERSEDED_MANIFEST}, and archive again")
    return pq.read_table(pa.BufferReader(content), use_threads=False)


def check(place: Place) -> int:
    """Read every file of superseded events; return how many there are."""
    return sum(len(_read(place, file)) >= 0 for file in manifest(place).promotions)

"""Data files: read back, and checked against what their manifests say."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.archive.ids import checksum, halves
from pipeline.archive.manifests import DataFile
from pipeline.archive.place import Place
from pipeline.archive.rows import micros
from pipeline.core.errors import ArchiveDamaged
from pipeline.store.identity import Uuids

_REPEATED = ["event_type"]
"""Columns that come as dictionaries, as they are written: so not every row's text is looked at."""

_REPAIR = "restore it from a copy, or delete its manifest: what the database still has of it is then archived again"


class Ids:
    """What tells the rows of a file apart: ids, offsets, and when they were stored (µs); shape (n,) each."""

    def __init__(self, table: pa.Table) -> None:
        self.ids = halves(table["event_id"])
        self.offsets: npt.NDArray[np.int64] = table["source_offset"].to_numpy()
        self.stored = micros(table, "stored_time")

    COLUMNS = ("event_id", "source_offset", "stored_time")


def read(place: Place, file: DataFile, columns: Sequence[str]) -> pa.Table:
    """Return columns of a file.

    Raises
    ------
    ArchiveDamaged
        If it is not there, or not byte for byte what its manifest says.
    """
    try:
        content = place.read(file.path)
    except FileNotFoundError:
        raise ArchiveDamaged(f"{file.path} is not in the archive: {_REPAIR}") from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ArchiveDamaged(f"{file.path} is not what was written (sha256, {len(content)} bytes): {_REPAIR}")
    try:
        table = pq.read_table(
            pa.BufferReader(content), columns=list(columns), use_threads=False, read_dictionary=_REPEATED
        )
    except (pa.ArrowException, KeyError) as error:
        raise ArchiveDamaged(f"{file.path} cannot be read: {error}") from error
    if len(table) != file.rows:
        raise ArchiveDamaged(f"{file.path} has {len(table)} rows, and its manifest says {file.rows}: {_REPAIR}")
    return table


def check(place: Place, file: DataFile) -> None:
    """Read a file and compare bytes, rows, offsets and ids with its manifest; raises :class:`ArchiveDamaged`."""
    found = Ids(read(place, file, Ids.COLUMNS))
    offsets = (int(found.offsets.min()), int(found.offsets.max()))
    if checksum(found.ids) != int(file.checksum, 16) or offsets != (file.offset_min, file.offset_max):
        raise ArchiveDamaged(f"{file.path} has other events than its manifest says: {_REPAIR}")


def require(place: Place, file: DataFile) -> None:
    """Check that a file is there with its size; raises :class:`ArchiveDamaged`."""
    size = place.size(file.path)
    if size is None:
        raise ArchiveDamaged(f"{file.path} is not in the archive: {_REPAIR}")
    if size != file.bytes:
        raise ArchiveDamaged(f"{file.path} has {size} bytes, and its manifest says {file.bytes}: {_REPAIR}")


def joined(some: Sequence[Ids]) -> tuple[Uuids, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return ids, offsets and times of storing of several files."""
    if not some:
        return Uuids(np.empty(0, np.uint64), np.empty(0, np.uint64)), np.empty(0, np.int64), np.empty(0, np.int64)
    high, low = (np.concatenate([each.ids[half] for each in some]) for half in (0, 1))
    return (
        Uuids(high, low),
        np.concatenate([each.offsets for each in some]),
        np.concatenate([each.stored for each in some]),
    )

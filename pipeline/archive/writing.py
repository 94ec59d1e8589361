"""Writing slices and remainders, so that a kill at any moment leaves nothing that counts by half.

In order: a note of the files that are to be written, the files, the manifest that makes them count, and the note is deleted.
Where a note is found and no manifest, the files it names are those of a run that was killed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
import pyarrow as pa

from pipeline.archive import layout, rows
from pipeline.archive.layout import SourceLog
from pipeline.archive.manifests import FORMAT, Contents, Manifest, Pending, encode
from pipeline.archive.place import Place
from pipeline.core.errors import NotOwner
from pipeline.core.records import SourcePartition

Connection = psycopg.Connection[Any]

_LOCK = "hashtextextended('pipeline archive', 0)"


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """Be the only one that archives or drops, for as long as this lasts; raises :class:`NotOwner` if somebody else is."""
    if connection.execute(f"SELECT pg_try_advisory_lock({_LOCK})").fetchone() != (True,):
        raise NotOwner(
            "`pipeline archive` or `pipeline retain` is at work on this database already: let it finish first"
        )
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(f"SELECT pg_advisory_unlock({_LOCK})")


@dataclass
class Written:
    """What was written, counted."""

    rows: int = 0
    files: int = 0
    bytes: int = 0
    manifests: int = 0


class Writer:
    """Adds to an archive.

    Parameters
    ----------
    connection
        Its session holds the lock of :func:`alone`: no manifest is written once it is gone.
    contents
        Is kept up to date.
    """

    def __init__(self, connection: Connection, place: Place, contents: Contents) -> None:
        self._connection, self._place, self._contents = connection, place, contents
        self.written = Written()

    def clean(self) -> int:
        """Delete the files of runs that were killed; return how many."""
        deleted = 0
        for pending in self._place.files(layout.PENDING):
            name = pending.removeprefix(f"{layout.PENDING}/").removesuffix(".json")
            if self._place.size(layout.manifest_path(name)) is None:
                paths = msgspec.json.decode(self._place.read(pending), type=Pending).paths
                for path in paths:
                    self._place.delete(path)
                deleted += len(paths)
            self._place.delete(pending)
        return deleted

    def add_slice(self, log: SourceLog, first: int, end: int, table: pa.Table) -> None:
        """Write all events of the offsets ``[first, end)`` of a log, or that there are none."""
        self._add(layout.slice_name(log, first, end), "slice", log, (first, end), table)

    def add_remainder(self, source: SourcePartition, table: pa.Table) -> None:
        """Write events that no slice holds; at least one."""
        offsets = table["source_offset"]
        extent = (int(offsets[0].as_py()), int(offsets[-1].as_py()) + 1)
        name = layout.remainder_name(source, dt.datetime.now(dt.UTC))
        self._add(name, "remainder", SourceLog("", *source, None), extent, table)

    def _add(self, name: str, kind: str, log: SourceLog, extent: tuple[int, int], table: pa.Table) -> None:
        parts = rows.parts(table, name) if len(table) else []
        if parts:
            self._place.write(layout.pending_path(name), encode(Pending([path for path, _ in parts])))
        files = [rows.write(self._place, path, part) for path, part in parts]
        manifest = Manifest(FORMAT, kind, *log, *extent, dt.datetime.now(dt.UTC), files)
        # If the session is gone, so is its lock, and somebody else may be writing the same
        self._connection.execute("SELECT 1")
        self._place.write(layout.manifest_path(name), encode(manifest))
        if parts:
            self._place.delete(layout.pending_path(name))
        self._contents.add(layout.manifest_path(name), manifest)
        done = self.written
        done.rows, done.files, done.manifests = done.rows + len(table), done.files + len(files), done.manifests + 1
        done.bytes += sum(file.bytes for file in files)

"""Leases taken as a worker takes them: see the marks, see the log, take over."""

from __future__ import annotations

from pipeline.core.marks import Evidence, LogRange
from pipeline.core.records import SourcePartition
from pipeline.store.connect import Connection
from pipeline.store.progress import Backend, Progress, Subscriber
from pipeline.store.takeover import Acquired, peek, take_over

PROGRESS = Progress(Subscriber("local", "g", "w"), 1)


def acquire(
    progress: Progress,
    connection: Connection,
    source: SourcePartition,
    start: int = 0,
    end: int = 100,
    *,
    backend: Backend | None = None,
    checksum: int | None = None,
) -> Acquired:
    """Take a partition over whose log holds ``[start, end)``, and a body of this checksum at the offset in question."""
    seen = peek(connection, progress, [source]).get(source)
    return take_over(connection, progress, source, Evidence(seen, LogRange(start, end), checksum), backend)

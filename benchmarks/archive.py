"""What archiving costs: rows per second into Parquet, checked and read again, and bytes of an event on its way."""

from __future__ import annotations

import gc
import shutil
import time
from typing import Any

import psycopg

from benchmarks import job, report
from benchmarks.contestants import PIPELINE
from benchmarks.load import Job
from benchmarks.measure import Run, measure
from benchmarks.services import Services
from pipeline.archive import archiving
from pipeline.archive.comparing import Comparison, Rows
from pipeline.archive.manifests import load
from pipeline.archive.place import Place
from pipeline.archive.reader import Archive
from pipeline.archive.slices import standings
from pipeline.store.connect import connect

_READINGS = 5


def run(services: Services, *, messages: int, machines: int) -> dict[str, Any]:
    """Let a worker store job J, archive what it stored, read it again; return the figures."""
    topic = services.topic()
    whole = Job(machines, messages)
    whole.fill(services.address, topic)
    stored = measure(PIPELINE, 1, services, topic, whole)
    if stored.problem:
        raise SystemExit(f"{PIPELINE.name}: {stored.problem}")
    place = Place(str(services.folder / "archive"))
    dsn = psycopg.conninfo.make_conninfo(services.dsn, dbname="bench")
    try:
        figures = _archive(dsn, place) | _read(dsn, place)
    finally:
        shutil.rmtree(place.address, ignore_errors=True)
    figures |= _bytes(stored, figures)
    report.show("", ("archive, one process", ""), list(figures.items()))
    return figures


def _archive(dsn: str, place: Place) -> dict[str, float]:
    with connect(dsn, autocommit=True) as guard, connect(dsn, autocommit=True) as reading:
        began, cpu = time.perf_counter(), time.process_time()
        done = archiving.archive(guard, reading, place, due_days=None)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        began = time.perf_counter()
        comparison = Comparison(reading, place, load(place))
        lacking = sum(int(found.lacking.sum()) for found in comparison.where_unequal(Rows("event")))
        compared = time.perf_counter() - began
    began = time.perf_counter()
    _, wrong = archiving.verify(place)
    verified = time.perf_counter() - began
    if lacking or wrong:
        raise SystemExit(f"the archive lacks {lacking} events, {len(wrong)} files are damaged")
    return {
        "events": done.rows,
        "files": done.files,
        "archived, events/s": done.rows / took,
        "archiving, CPU s per million events": cpu / done.rows * 1e6,
        "compared with the database by counts and checksums, events/s": done.rows / compared,
        "verified by --verify, events/s": done.rows / verified,
        "archive bytes per event": done.bytes / done.rows,
    }


def _read(dsn: str, place: Place) -> dict[str, float]:
    with connect(dsn, autocommit=True) as connection:
        logs = standings(connection)
    archive, found = Archive(place), {}
    for what in ("columns", "events"):
        count, began = 0, time.process_time()
        for log, end in logs:
            for some in getattr(archive, what)(log.cluster, log.source, 0, end, log.since):
                count += len(some)
        found[f"read as {what}, messages/s of CPU time"] = count / (time.process_time() - began)
        gc.collect()
    return found


def _bytes(stored: Run, figures: dict[str, float]) -> dict[str, float]:
    each = figures["archive bytes per event"]
    return {
        "topic bytes per message": stored.topic_bytes,
        "database bytes per message, event and its indexes": stored.event_bytes + stored.index_bytes,
        "database ÷ archive": (stored.event_bytes + stored.index_bytes) / each,
        "archive bytes per reading": each / _READINGS,
        "GB archived per day at 10,000 messages/s": each * job.RATE_BY_DAY / 1e9,
    }

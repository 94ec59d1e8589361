"""How fast `pipeline verify` judges a database, and what memory that takes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import zlib
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from benchmarks import report
from benchmarks.load import INTERVAL_MS, plant_options
from benchmarks.services import PARTITIONS, Services
from pipeline.core.effects import Effects, UnitOfWork
from pipeline.core.fold import FOLD_VERSION, FoldRules, Marks, fold, project
from pipeline.core.marks import Evidence, LogRange
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.store.connect import connect
from pipeline.store.progress import Progress, Subscriber
from pipeline.store.sink import Sink
from pipeline.store.takeover import take_over
from simulator.ledger import Ledger
from simulator.messages import Sent
from simulator.plant import Plant

_TOPIC, _GROUP = "telemetry.machine", "pipeline"
_BATCH = 50_000


@dataclass(frozen=True, slots=True)
class Judged:
    """One run of the command.

    Parameters
    ----------
    seconds, cpu_s
        From its start to its end, and what CPU its process used meanwhile, s.
    resident_mb
        Its largest resident set, MB.
    """

    against: str
    messages: int
    seconds: float
    per_second: float
    cpu_s: float
    resident_mb: float
    holds: bool


class Stored:
    """Messages of a plant, folded and stored as workers do, without a broker between."""

    def __init__(self, dsn: str) -> None:
        self._rules, self._progress = FoldRules(), Progress(Subscriber("local", _GROUP, "bench"), FOLD_VERSION)
        self._sink = Sink(lambda: connect(dsn), self._progress)
        self._sources = [SourcePartition(_TOPIC, number) for number in range(PARTITIONS)]
        self._states = [PartitionState() for _ in self._sources]
        self._ends, self._merged = [0] * PARTITIONS, [0] * PARTITIONS
        with connect(dsn, autocommit=True) as leasing:
            self._owners = [
                take_over(leasing, self._progress, each, Evidence(None, LogRange(0, 1), None), None).owner
                for each in self._sources
            ]

    def place(self, record: Sent) -> tuple[int, int]:
        """Return partition and offset of the next record."""
        partition = zlib.crc32(record.key) % PARTITIONS
        self._ends[partition] += 1
        return partition, self._ends[partition] - 1

    def store(self, partition: int, records: list[Record]) -> None:
        """Store the next records of a partition."""
        source, state, owner = self._sources[partition], self._states[partition], self._owners[partition]
        first, end = self._merged[partition], records[-1].offset + 1
        effects: Effects = fold(state, RecordBatch(source, owner, first, end, records), self._rules, Marks())
        due = project(state, first, end, self._rules)
        self._sink.store([UnitOfWork(source, owner, first, end, [effects], due)])
        self._merged[partition] = end

    def close(self) -> None:
        """Let the database go."""
        self._sink.close()


def fill(dsn: str, ledger: Path, machines: int, messages: int) -> None:
    """Store a plant's messages in a migrated database, and write its ledger."""
    plant = iter(Plant(plant_options(machines, INTERVAL_MS, messages)))
    stored = Stored(dsn)
    with Ledger(ledger) as notes:
        while block := list(islice(plant, _BATCH * PARTITIONS)):
            waiting: list[list[Record]] = [[] for _ in range(PARTITIONS)]
            for each in block:
                partition, offset = stored.place(each)
                notes.append(each, each.due_ms, _TOPIC, partition, offset)
                waiting[partition].append(Record(offset, each.due_ms, each.body, each.key, each.headers))
            for partition, records in enumerate(waiting):
                if records:
                    stored.store(partition, records)
            notes.flush()
    stored.close()


def run(services: Services, *, machines: int, messages: int) -> dict[str, Any]:
    """Let the command judge stored messages, by themselves and by their ledger; return the figures."""
    with services.database(ours=True) as dsn, tempfile.TemporaryDirectory(dir=services.folder) as folder:
        ledger = Path(folder) / "ledger.csv"
        # By somebody else: what this process once held would count as held by those that it starts
        filling = multiprocessing.get_context("spawn").Process(target=fill, args=(dsn, ledger, machines, messages))
        filling.start()
        filling.join()
        if filling.exitcode:
            raise RuntimeError(f"the database was not filled: exit code {filling.exitcode}")
        runs = [_judge("by themselves", dsn), _judge("by the ledger", dsn, ledger)]
    columns = ("against", "messages", "s", "messages/s", "CPU s", "peak MB", "holds")
    report.show("", columns, [tuple(asdict(each).values()) for each in runs])
    return {"runs": [asdict(each) for each in runs]}


def _judge(against: str, dsn: str, *arguments: Path) -> Judged:
    """Run the command and measure its process."""
    command = [sys.executable, "-m", "pipeline", "verify", "--json", *map(str, arguments)]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, env=os.environ | {"PIPELINE_POSTGRES__DSN": dsn})
        # As Popen waits, but with what the process used
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        said.seek(0)
        found = orjson.loads(said.read())
    cpu_s = used.ru_utime + used.ru_stime
    return Judged(
        against, found["stored"], seconds, found["stored"] / seconds, cpu_s, used.ru_maxrss * 1024 / 1e6, found["holds"]
    )

"""One verification: everything is read in one snapshot, then judged part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import LiteralString

import numpy as np
import pyarrow as pa

from pipeline import verify_queries as queries
from pipeline.core.errors import SettingsError
from pipeline.core.records import SourcePartition
from pipeline.store.connect import Connection
from pipeline.verifying import ledger as ledgers
from pipeline.verifying.blocks import NAME, NUMBER, RAW, WHOLE, copied, tables
from pipeline.verifying.figures import Figures
from pipeline.verifying.intake import Intake
from pipeline.verifying.machines import Judge
from pipeline.verifying.marks import Letter, Mark, Marks
from pipeline.verifying.outcome import outcome
from pipeline.verifying.places import has_shared_places, judge_places
from pipeline.verifying.question import Question
from pipeline.verifying.report import Verification
from pipeline.verifying.states import States

Told = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, and of how much; ``None``: not known."""

_BUCKET_BYTES = 1 << 27
_MOST_BUCKETS = 4096
_PLACE: dict[str, pa.DataType] = {
    "source_topic": NAME,
    **dict.fromkeys(("source_partition", "source_offset", "source_index"), WHOLE),
}
_EVENT = _PLACE | {
    "machine_id": NAME,
    "event_ms": WHOLE,
    "ingest_ms": WHOLE,
    "latency_us": WHOLE,
    "current": pa.bool_(),
    "body": RAW,
}
_WINDOW = {
    "machine_id": NAME,
    "sensor": NAME,
    "start_ms": WHOLE,
    "count": WHOLE,
    **dict.fromkeys(("mean", "m2", "min", "max", "last"), NUMBER),
    "source_id": WHOLE,
}
_LETTER = _PLACE | {"whole": pa.bool_(), "current": pa.bool_()}
_ANOMALY = _PLACE | {"machine_id": NAME, "sensor": NAME, "kind": NAME}
_STATE = {"machine_id": NAME, "messages": WHOLE, "last_seen_ms": WHOLE}


class Run:
    """One verification.

    Parameters
    ----------
    connection
        In a transaction that has done nothing yet.
    folder
        Empty; takes what is read.
    told
        Told how far it is.
    """

    def __init__(self, question: Question, connection: Connection, folder: Path, told: Told) -> None:
        self._question, self._connection, self._told = question, connection, told
        self._asked = question.parameters
        connection.execute(queries.BEGIN)
        self._is_tracked = connection.execute("SHOW track_commit_timestamp").fetchone() == ("on",)
        self._figures = Figures()
        self._intake = Intake(
            folder, self._buckets(), self._marks(), self._figures, with_places=question.bounds.are_open
        )

    def judge(self) -> Verification:
        """Read everything and judge it."""
        question, intake, figures = self._question, self._intake, self._figures
        self._read_all()
        states = self._states() if question.ledger is None and question.bounds.are_timeless else None
        accounts = judge_places(intake, question, figures, self._told) if question.bounds.are_open else None
        judge = Judge(intake, question, figures)
        for bucket in range(intake.buckets):
            self._told("judging machines", bucket, intake.buckets)
            judge.judge(bucket)
        self._told("judging machines", intake.buckets, intake.buckets)
        if states is not None:
            states.judge(intake, judge.seen_ms, accounts, figures)
        return outcome(question, intake, judge, accounts, states, is_tracked=self._is_tracked)

    def _read_all(self) -> None:
        intake, ledger = self._intake, self._question.ledger
        wanted = None
        if ledger is not None:
            self._read_ledger(ledger)
            wanted = intake.sound_machines()
        statement = queries.EVENTS_COMMITTED if self._is_tracked else queries.EVENTS_BEGUN
        for table in self._read("events", statement, _EVENT):
            intake.take_events(table, with_bodies=ledger is None)
        for table in self._read("windows", queries.WINDOWS, _WINDOW):
            intake.take_windows(table, wanted)
        if ledger is not None:
            for table in self._read("anomalies", queries.ANOMALIES, _ANOMALY):
                intake.take_anomalies(table)

    def _read(self, what: str, statement: LiteralString, columns: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
        done = 0
        for table in tables(copied(self._connection, statement, self._asked), columns):
            yield table
            done += table.num_rows
            self._told(f"reading {what}", done, None)

    def _read_ledger(self, path: Path) -> None:
        for first, table in ledgers.blocks(path):
            self._intake.take_sent(path, first, table, self._within(table))
            self._told("reading the ledger", first + table.num_rows - 2, None)
        if has_shared_places(self._intake):
            msg = f"the ledger {path} says the same place twice: a topic was recreated meanwhile; begin a new ledger"
            raise SettingsError(msg)
        self._asked["topics"] = list(self._intake.topics.texts)

    def _within(self, table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return which rows of a ledger are within the bounds, shape (n,)."""
        bounds, times_ms = self._question.bounds, table.column("event_time_ms").to_numpy()
        within = np.ones(len(times_ms), np.bool_)
        if bounds.since_ms is not None:
            within &= times_ms >= bounds.since_ms
        if bounds.until_ms is not None:
            within &= times_ms < bounds.until_ms
        if bounds.machines:
            within &= np.isin(np.array(table.column("machine_id").to_pylist()), bounds.machines)
        if bounds.factory:
            within &= np.array(table.column("factory_id").to_pylist()) == bounds.factory
        return within

    def _buckets(self) -> int:
        row = self._connection.execute(queries.SIZE).fetchone()
        ledger = self._question.ledger
        size = max(row[0] if row else 0, ledger.stat().st_size if ledger is not None and ledger.exists() else 0)
        return min(_MOST_BUCKETS, 1 + int(size) // _BUCKET_BYTES)

    def _marks(self) -> Marks:
        marks = {
            SourcePartition(topic, partition): Mark(*rest)
            for topic, partition, *rest in self._connection.execute(queries.PROGRESS, self._asked)
        }
        letters: list[Letter] = []
        for table in self._read("dead letters", queries.LETTERS, _LETTER):
            rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
            letters += [Letter(SourcePartition(topic, partition), *rest) for topic, partition, *rest in rows]
        return Marks.gather(marks, self._connection.execute(queries.GAPS), letters)

    def _states(self) -> States:
        states = States()
        for table in self._read("machine states", queries.STATES, _STATE):
            states.take(
                self._intake.machines.column(table.column("machine_id")),
                table.column("messages").to_numpy(),
                table.column("last_seen_ms").to_numpy(),
            )
        return states

"""One verification: everything is copied out in one snapshot, then judged part by part without the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString

import numpy as np
import pyarrow as pa

from pipeline.core.errors import SettingsError
from pipeline.core.records import SourcePartition
from pipeline.store.connect import Connection
from pipeline.verifying import ledger as ledgers
from pipeline.verifying import queries
from pipeline.verifying.blocks import NAME, NUMBER, RAW, WHOLE, copied, tables
from pipeline.verifying.copies import Copy
from pipeline.verifying.figures import Figures
from pipeline.verifying.intake import Intake
from pipeline.verifying.machines import Judge
from pipeline.verifying.marks import Letter, Mark, Marks
from pipeline.verifying.outcome import outcome
from pipeline.verifying.places import has_shared_places, judge_places
from pipeline.verifying.predictions import Predictions, judged
from pipeline.verifying.question import Question, Retained
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
    "event_type": NAME,
}
_WINDOW = {
    "machine_id": NAME,
    "sensor": NAME,
    "start_ms": WHOLE,
    "count": WHOLE,
    **dict.fromkeys(("mean", "m2", "min", "max", "last"), NUMBER),
    "length_ms": WHOLE,
    "source_id": WHOLE,
}
_LETTER = _PLACE | {"whole": pa.bool_(), "current": pa.bool_()}
_ANOMALY = _PLACE | {"machine_id": NAME, "sensor": NAME, "kind": NAME}
_STATE = {"machine_id": NAME, "messages": WHOLE, "last_seen_ms": WHOLE}


class Run:
    """One verification: first :meth:`read`, then :meth:`judge`.

    Parameters
    ----------
    folder
        Empty; takes what is read.
    told
        Told how far it is.
    """

    def __init__(self, question: Question, folder: Path, told: Told) -> None:
        self._question, self._folder, self._told = question, folder, told
        self._topics = None if question.ledger is None else ledgers.topics(question.ledger)
        self._copies: dict[str, Copy] = {}
        self._progress: list[tuple[Any, ...]] = []
        self._gaps: list[tuple[str, int, int, int]] = []
        self._size, self._is_tracked = 0, False
        self._predictions = Predictions(0, 0, ())

    def read(self, connection: Connection) -> None:
        """Copy everything out of the database.

        Parameters
        ----------
        connection
            In a transaction that has done nothing yet.
        """
        connection.execute(queries.BEGIN)
        retained = connection.execute(queries.RETAINED).fetchone()
        self._question = question = replace(self._question, retained=Retained(*retained or ()))
        self._is_tracked = connection.execute("SHOW track_commit_timestamp").fetchone() == ("on",)
        size = connection.execute(queries.SIZE).fetchone()
        self._size = int(size[0]) if size else 0
        asked = question.parameters | {"topics": self._topics}
        self._progress = connection.execute(queries.PROGRESS, asked).fetchall()
        self._gaps = connection.execute(queries.GAPS).fetchall()
        self._predictions = judged(connection, asked)
        wanted: dict[str, LiteralString] = {
            "dead letters": queries.LETTERS,
            "events": queries.EVENTS_COMMITTED if self._is_tracked else queries.EVENTS_BEGUN,
            "windows": queries.WINDOWS,
        }
        if question.ledger is not None:
            wanted["anomalies"] = queries.ANOMALIES
        elif question.bounds.are_timeless:
            wanted["machine states"] = queries.STATES
        for what, statement in wanted.items():
            copy = self._copies[what] = Copy(self._folder / f"copied-{what}")
            for done in copy.fill(copied(connection, statement, asked)):
                self._told(f"copying {what}", done, None)

    def judge(self) -> Verification:
        """Judge what was read."""
        question, figures = self._question, Figures()
        intake = Intake(self._folder, self._buckets(), self._marks(), figures, with_places=question.bounds.are_open)
        self._take_all(intake)
        states = self._states(intake) if "machine states" in self._copies else None
        accounts = judge_places(intake, question, figures, self._told) if question.bounds.are_open else None
        judge = Judge(intake, question, figures)
        for bucket in range(intake.buckets):
            self._told("judging machines", bucket, intake.buckets)
            judge.judge(bucket)
        self._told("judging machines", intake.buckets, intake.buckets)
        if states is not None:
            states.judge(intake, judge.seen_ms, accounts, figures)
        return outcome(question, intake, judge, accounts, states, self._predictions, is_tracked=self._is_tracked)

    def _take_all(self, intake: Intake) -> None:
        ledger, wanted = self._question.ledger, None
        if ledger is not None:
            self._take_ledger(intake, ledger)
            wanted = intake.sound_machines()
        for table in self._tables("events", _EVENT):
            intake.take_events(table, with_bodies=ledger is None)
        for table in self._tables("windows", _WINDOW):
            intake.take_windows(table, wanted)
        for table in self._tables("anomalies", _ANOMALY) if ledger is not None else ():
            intake.take_anomalies(table)

    def _tables(self, what: str, columns: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
        copy, done = self._copies[what], 0
        for table in tables(copy.blocks(), columns):
            yield table
            done += table.num_rows
            self._told(f"reading {what}", done, copy.rows)

    def _take_ledger(self, intake: Intake, path: Path) -> None:
        letters_ms = self._question.retained.letters_ms
        for first, table in ledgers.blocks(path):
            intake.take_sent(path, first, table, self._within(table), letters_ms)
            self._told("reading the ledger", first + table.num_rows - 2, None)
        if has_shared_places(intake):
            msg = f"the ledger {path} says the same place twice: a topic was recreated meanwhile; begin a new ledger"
            raise SettingsError(msg)

    def _within(self, table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return which rows of a ledger are within the bounds, shape (n,)."""
        question, bounds = self._question, self._question.bounds
        times_ms = table.column("event_time_ms").to_numpy()
        within = np.ones(len(times_ms), np.bool_)
        if question.since_ms is not None:
            within &= times_ms >= question.since_ms
        if bounds.until_ms is not None:
            within &= times_ms < bounds.until_ms
        if bounds.machines:
            within &= np.isin(np.array(table.column("machine_id").to_pylist()), bounds.machines)
        if bounds.factory:
            within &= np.array(table.column("factory_id").to_pylist()) == bounds.factory
        return within

    def _buckets(self) -> int:
        ledger = self._question.ledger
        size = max(self._size, ledger.stat().st_size if ledger is not None else 0)
        return min(_MOST_BUCKETS, 1 + size // _BUCKET_BYTES)

    def _marks(self) -> Marks:
        marks = {SourcePartition(topic, partition): Mark(*rest) for topic, partition, *rest in self._progress}
        letters: list[Letter] = []
        for table in self._tables("dead letters", _LETTER):
            rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
            letters += [Letter(SourcePartition(topic, partition), *rest) for topic, partition, *rest in rows]
        return Marks.gather(marks, self._gaps, letters)

    def _states(self, intake: Intake) -> States:
        states = States()
        for table in self._tables("machine states", _STATE):
            states.take(
                intake.machines.column(table.column("machine_id")),
                table.column("messages").to_numpy(),
                table.column("last_seen_ms").to_numpy(),
            )
        return states

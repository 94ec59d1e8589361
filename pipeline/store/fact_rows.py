"""Facts as rows: of ``event``, and of the table of their kind; columns in the order of its constant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.facts import INGESTED, Fact, QualityReport
from pipeline.core.records import SourcePartition
from pipeline.store import copy_binary as copy
from pipeline.store.identity import event_ids, seed

_SHARED = "cluster, source_topic, source_partition, source_offset, source_index, machine_id, factory_id"
QUALITY_REPORT = (
    f"{_SHARED}, line_id, sku, period_start, good, snag, reject, planned_s, run_s, ideal_cycle_s, period_end, reported_at,"
    " event_id"
)
MAINTENANCE_RECORD = f"{_SHARED}, kind, component, note, class, event_time, ingest_time, event_id"

IS_INGESTED = "event_type IN ('{}')".format("', '".join(INGESTED))
"""Condition on the rows of ``event`` that came in; all others are derived from these."""


class FactRows:
    """Facts of one kind from one partition, and their rows in two tables.

    Parameters
    ----------
    facts
        At least one.
    """

    def __init__(self, cluster: str, source: SourcePartition, facts: Sequence[Fact]) -> None:
        n = len(facts)
        self.kind = type(facts[0])
        self._cluster, self._facts = cluster, facts
        offsets = np.array([fact.offset for fact in facts], np.int64)
        indexes = np.array([fact.index for fact in facts], np.int32)
        times_ms = np.array([fact.time_ms for fact in facts], np.int64)
        self._id = copy.uuids(*event_ids(np.array([seed(cluster, source)], np.uint64), times_ms, offsets, indexes))
        ingest_ms = np.array([fact.ingest_ms for fact in facts], np.int64)
        self._times = [copy.timestamps(times_ms), copy.timestamps(ingest_ms)]
        self._place: list[copy.Column] = [
            copy.constant(source.topic.encode(), n),
            copy.constant(copy.int4(source.partition), n),
            copy.fixed(offsets, ">i8"),
            copy.fixed(indexes, ">i4"),
            copy.texts([fact.machine_id for fact in facts]),
            copy.texts([fact.factory_id for fact in facts]),
        ]

    def events(self) -> bytes:
        """Return the facts as rows of ``event``."""
        n = len(self._facts)
        about: list[copy.Column] = [
            self._id,
            copy.constant(self.kind.event_type.encode(), n),
            copy.texts([fact.entity_type for fact in self._facts]),
            self._id,
        ]
        return copy.rows([*about, *self._times, *self._place, copy.raw([fact.body for fact in self._facts])])

    def rows(self) -> bytes:
        """Return the facts as rows of their own table."""
        cluster = copy.constant(self._cluster.encode(), len(self._facts))
        return copy.rows([cluster, *self._place, *_own_columns(self._facts), *self._times, self._id])


def by_kind(cluster: str, source: SourcePartition, facts: Sequence[Fact]) -> Iterator[FactRows]:
    """Yield the facts of each kind."""
    kinds: dict[type[Fact], list[Fact]] = {}
    for fact in facts:
        kinds.setdefault(type(fact), []).append(fact)
    for some in kinds.values():
        yield FactRows(cluster, source, some)


def _own_columns(facts: Sequence[Fact]) -> list[copy.Column]:
    """Return what only facts of their kind have."""
    if isinstance(facts[0], QualityReport):
        return [
            *_texts(facts, "line_id", "sku"),
            copy.timestamps(_numbers(facts, "start_ms")),
            *(copy.fixed(_numbers(facts, name), ">i8") for name in ("good", "snag", "reject")),
            *(copy.fixed(_numbers(facts, name), ">f8") for name in ("planned_s", "run_s", "ideal_cycle_s")),
        ]
    return [*_texts(facts, "kind", "component", "note"), copy.fixed(_numbers(facts, "requirement"), ">i4")]


def _texts(facts: Sequence[Fact], *names: str) -> list[copy.Column]:
    return [copy.texts([getattr(fact, name) for fact in facts]) for name in names]


def _numbers(facts: Sequence[Fact], name: str) -> npt.NDArray[Any]:
    return np.array([getattr(fact, name) for fact in facts])

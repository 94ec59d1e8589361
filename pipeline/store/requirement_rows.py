"""What maintenance machines need, as rows of ``event`` and of tables of its own; see :mod:`pipeline.store.rows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from pipeline.core.maintenance.judgement import WINDOW_MS
from pipeline.core.maintenance.requirements import Recalculation, RequirementChange, RequirementRows
from pipeline.core.records import SourcePartition
from pipeline.core.times import iso
from pipeline.store import copy_binary as copy
from pipeline.store.identity import event_ids, seed, source_id

PREDICTION = "Maintenance Prediction"
RECALCULATION = "Aggregate recalculation"

REQUIREMENT = (
    "cluster, source_topic, source_partition, source_offset, source_index, machine_id, factory_id, line_id, class,"
    " previous_class, rule_id, rule_version, name, event_time, event_id, message_id"
)
AGGREGATE = "window_start, messages, late_count, first_time, last_time, class, source_id, machine_id, factory_id"


class DerivedRows:
    """What is said of a class of some messages of one partition, and its rows.

    Parameters
    ----------
    found
        At least one, all of one kind.
    """

    def __init__(
        self, cluster: str, source: SourcePartition, found: Sequence[RequirementChange] | Sequence[Recalculation]
    ) -> None:
        self._cluster, self._found, self._n = cluster, found, len(found)
        self._kind = PREDICTION if isinstance(found[0], RequirementChange) else RECALCULATION
        offsets, times_ms = self._numbers("offset"), self._numbers("time_ms")
        indexes = self._numbers("index").astype(np.int32)
        self._id, self._message_id = (
            copy.uuids(*event_ids(np.array([seed(cluster, source, kind)], np.uint64), times_ms, offsets, indexes))
            for kind in (self._kind, "")
        )
        self._time = copy.timestamps(times_ms)
        self._place: list[copy.Column] = [
            copy.constant(source.topic.encode(), self._n),
            copy.constant(copy.int4(source.partition), self._n),
            copy.fixed(offsets, ">i8"),
            copy.fixed(indexes, ">i4"),
            copy.texts([each.machine_id for each in found]),
            copy.texts([each.factory_id for each in found]),
        ]

    def _numbers(self, name: str) -> npt.NDArray[np.int64]:
        return np.array([getattr(each, name) for each in self._found], np.int64)

    def events(self) -> bytes:
        """Return rows of ``event``, with what is said as their body."""
        return copy.rows(
            [
                self._id,
                copy.constant(self._kind.encode(), self._n),
                copy.constant(b"machine", self._n),
                self._message_id,
                self._time,
                copy.timestamps(self._numbers("ingest_ms")),
                *self._place,
                copy.raw([orjson.dumps(_said(each)) for each in self._found]),
            ]
        )

    def rows(self) -> bytes:
        """Return changes of class as rows of ``maintenance_requirement``."""
        said = [each for each in self._found if isinstance(each, RequirementChange)]
        return copy.rows(
            [
                copy.constant(self._cluster.encode(), self._n),
                *self._place,
                copy.texts([each.line_id for each in said]),
                copy.fixed(self._numbers("requirement"), ">i4"),
                copy.fixed(self._numbers("previous"), ">i4"),
                copy.texts([each.rule_id for each in said]),
                copy.fixed(self._numbers("rule_version"), ">i8"),
                copy.texts([each.name for each in said]),
                self._time,
                self._id,
                self._message_id,
            ]
        )


def _said(of: RequirementChange | Recalculation) -> dict[str, Any]:
    if isinstance(of, RequirementChange):
        rule = {"rule_id": of.rule_id, "rule_version": of.rule_version, "name": of.name}
        return {"class": of.requirement, "previous_class": of.previous} | rule | {"readings": of.readings}
    return {
        "class": of.requirement,
        "window_start": iso(of.start_ms),
        "window_end": iso(of.start_ms + WINDOW_MS),
    }


def aggregates(cluster: str, source: SourcePartition, merged: RequirementRows) -> bytes:
    """Return counts of messages as rows of ``maintenance_aggregate``."""
    n, counts = len(merged.machine_ids), merged.counts
    if not n:
        return b""
    return copy.rows(
        [
            copy.timestamps(merged.starts_ms),
            copy.fixed(counts["count"], ">i8"),
            copy.fixed(counts["late"], ">i8"),
            copy.timestamps(counts["first_ms"]),
            copy.timestamps(counts["last_ms"]),
            copy.fixed(merged.requirements, ">i4"),
            copy.constant(copy.int4(source_id(cluster, source)), n),
            copy.texts(merged.machine_ids),
            copy.texts(merged.factory_ids),
        ]
    )

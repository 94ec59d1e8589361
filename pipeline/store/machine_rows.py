"""Machines that sent for the first time, as rows of ``event``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson

from pipeline.core.new_machines import NewMachine
from pipeline.core.records import SourcePartition
from pipeline.store import copy_binary as copy
from pipeline.store.identity import event_ids, seed

NEW_MACHINE = "New Machine"


def new_machines(cluster: str, source: SourcePartition, machines: Sequence[NewMachine]) -> bytes:
    """Return the events that tell of new machines; each carries the id of the message that it was seen in."""
    n = len(machines)
    times_ms = np.array([each.time_ms for each in machines], np.int64)
    offsets = np.array([each.offset for each in machines], np.int64)
    indexes = np.array([each.index for each in machines], np.int32)
    ids, messages = (
        copy.uuids(*event_ids(np.array([seed(cluster, source, kind)], np.uint64), times_ms, offsets, indexes))
        for kind in (NEW_MACHINE, "")
    )
    return copy.rows(
        [
            ids,
            copy.constant(NEW_MACHINE.encode(), n),
            copy.constant(b"machine", n),
            messages,
            copy.timestamps(times_ms),
            copy.timestamps(np.array([each.ingest_ms for each in machines], np.int64)),
            copy.constant(source.topic.encode(), n),
            copy.constant(copy.int4(source.partition), n),
            copy.fixed(offsets, ">i8"),
            copy.fixed(indexes, ">i4"),
            copy.texts([each.machine_id for each in machines]),
            copy.texts([each.factory_id for each in machines]),
            copy.raw([orjson.dumps({"machine_type": each.machine_type}) for each in machines]),
        ]
    )

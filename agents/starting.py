"""What a process does before it folds, so that folding is fast from the first record on."""

from __future__ import annotations

import gc

from pipeline.core import ticks
from pipeline.core.controls import PlacedControl
from pipeline.core.detectors.configuration import all_on
from pipeline.core.fold import FoldRules, Marks, fold, project
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.store import rows


def warm_up() -> None:
    """Compile the kernels, or load them from the cache, by folding and writing one message to nowhere."""
    source = SourcePartition("warm-up", 0)
    body = (
        b'{"type":"machine","factory_id":"f","machine_id":"m","machine_type":"t","time":"1970-01-01T00:00:00Z",'
        b'"readings":{"r":1}}'
    )
    state = PartitionState()
    effects = fold(state, RecordBatch(source, "", 0, 1, [Record(0, 0, body)]), FoldRules(detectors=all_on()), Marks())
    for deltas in (state.deltas, state.judgement.deltas):
        deltas.reserve(2 * len(deltas.entries))
    ticks.apply(state, PlacedControl(ticks.tick(0, 0), 1, 0), FoldRules(), counted=True)
    project(state, 0, 1, FoldRules())
    rows.telemetry("", source, effects.events)


def spare_collector() -> None:
    """Let the garbage collector look for cycles once in 100,000 new objects, not in 700, and never among what was there before.

    A fetch has some 10,000 records, all of which live until it is folded, and none of which is in a cycle: with the defaults
    a third of a worker's CPU went into looking through them. The cycles that do come about are of the client's requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)

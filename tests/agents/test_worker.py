"""The worker's start."""

from __future__ import annotations

from numba.core.dispatcher import Dispatcher

from agents.worker import warm_up
from pipeline.core import kernel, windows
from pipeline.core.fold import FoldRules, Marks, fold, project
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.store import copy_binary, rows
from simulator.options import PlantOptions
from simulator.plant import Plant


def compiled() -> dict[str, int]:
    """Return how many versions of each kernel there are."""
    kernels = [kernel_ for module in (kernel, windows, copy_binary) for kernel_ in vars(module).values()]
    return {each.__qualname__: len(each.signatures) for each in kernels if isinstance(each, Dispatcher)}


def test_after_the_warm_up_nothing_is_left_to_compile() -> None:
    warm_up()
    before = compiled()
    plant = Plant(PlantOptions(machines=500, messages=3000, garbage_share=0.01, array_share=0.05, duplicate_share=0.01))
    records = [Record(n, 1_735_689_600_000 + n, sent.body) for n, sent in enumerate(plant)]
    source, state = SourcePartition("t", 0), PartitionState()

    effects = fold(state, RecordBatch(source, "", 0, len(records), records), FoldRules(), Marks())
    rows.telemetry("c", source, effects.events)
    rows.windows("c", source, project(state, 0, len(records), FoldRules().window).windows)

    assert len(effects.events) > 2000
    assert compiled() == before

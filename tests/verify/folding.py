"""A plant's records through the real fold into the real sink."""

from __future__ import annotations

import itertools
from typing import Any

from pipeline.core.effects import UnitOfWork
from pipeline.core.fold import FOLD_VERSION, FoldRules, Marks, fold, project
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.store.connect import connect
from pipeline.store.progress import Progress, Subscriber
from pipeline.store.sink import Sink
from pipeline.verifying.verify import Verification, verify
from simulator.ledger import LedgerRow
from simulator.messages import Sent
from simulator.options import PlantOptions
from simulator.plant import Plant
from tests.store.leasing import acquire
from tests.verify.tables import GROUP, TOPIC, Tables


def fold_plant(tables: Tables, options: PlantOptions) -> list[LedgerRow]:
    """Return the ledger of a plant that went through the real fold into the real sink."""
    records = list(Plant(options))
    sent = tables.send(records, partitions=1)
    fold_and_store(tables.dsn, records)
    return sent


def alone(tables: Tables, **more: Any) -> Verification:
    """Return what tables are found to be without a ledger."""
    return verify(None, tables.dsn, group=GROUP, delay_ms=10_000, **more)


def fold_and_store(dsn: str, records: list[Sent]) -> None:
    """Run records through the real fold into the real sink, as one partition in uneven batches."""
    source, rules, state = SourcePartition(TOPIC, 0), FoldRules(), PartitionState()
    progress = Progress(Subscriber("local", GROUP, "w"), FOLD_VERSION)
    raw = [Record(n, r.due_ms, r.body, r.key, r.headers) for n, r in enumerate(records)]
    sink = Sink(lambda: connect(dsn), progress)
    with connect(dsn, autocommit=True) as leasing:
        owner = acquire(progress, leasing, source, end=len(raw)).owner
    marks, cuts = 0, [*range(0, len(raw), 97), len(raw)]
    for start, end in itertools.pairwise(cuts):
        effects = fold(state, RecordBatch(source, owner, start, end, raw[start:end]), rules, Marks())
        due = project(state, marks, end, rules)
        assert sink.store([UnitOfWork(source, owner, start, end, [effects], due)]) == {source}
        marks = end
    sink.close()

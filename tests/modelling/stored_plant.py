"""A small plant's messages through fold, sink and registry as a worker brings them there, with models that come and go."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from pipeline import rules
from pipeline.core.controls import PlacedControl
from pipeline.core.prognosis import artefacts, kinds
from pipeline.core.prognosis.artefacts import Model
from pipeline.core.prognosis.features import FEATURE_VERSION
from pipeline.core.records import Record, RecordBatch, SourcePartition, StoredEvents
from pipeline.settings import Settings
from pipeline.store import controls, model_stages, models
from pipeline.store import snapshots as kept
from pipeline.store.connect import connect
from pipeline.store.models import Candidate, Group
from pipeline.store.sink import Sink
from pipeline.store.snapshots import Snapshot
from tables import snapshots
from tables.loading import load
from tests.core.prognosis.models_in_force import maintenance_class, remaining_life
from tests.core.prognosis.test_predictions import BASE_MS, message
from tests.core.sinks import SOURCE, record
from tests.store.leasing import acquire

TYPE = "stamping_press"
CYCLE_S, MESSAGES = 100, 12


class StoredPlant:
    """One partition of a worker with the settings given, and the registry it hears of models from."""

    def __init__(self, settings: Settings, engineer_dsn: str) -> None:
        self.settings = settings
        self.group = Group(settings.site.cluster, settings.group)
        self.rules = rules.fold_rules(settings)
        self.progress = rules.progress(settings, "w")
        dsn = settings.postgres.dsn.get_secret_value()
        self.engineer = connect(engineer_dsn, autocommit=True)
        self.worker = connect(dsn, autocommit=True, lock_timeout_s=1)
        self.sink = Sink(lambda: connect(dsn), self.progress)
        self.own()

    def own(self) -> None:
        """Take the partition over, with the state that was saved; its log is still there."""
        taken = acquire(self.progress, self.worker, SOURCE, end=10**6)
        self.partition = load(SOURCE, taken, 0, self.rules, nothing_stored, lambda: True, self.placed)

    def placed(self, source: SourcePartition, first: int) -> list[PlacedControl]:
        return controls.placed(self.worker, self.progress, source, first)

    def close(self) -> None:
        self.sink.close()
        self.worker.close()
        self.engineer.close()

    def learn(self, model: Model, stage: str = "live") -> int:
        """Keep a model, let it have a stage, and tell the partition where it stands; return its number."""
        candidate = Candidate(
            TYPE,
            artefacts.encode(model, FEATURE_VERSION),
            training={"offsets": {SOURCE.topic: {"0": [0, 40]}}},
        )
        version, _ = models.add(self.engineer, self.group, candidate, kinds.KNOWN)
        self.put(version.model_id, stage)
        return version.model_id

    def put(self, model_id: int, stage: str) -> None:
        if stage == "live":
            model_stages.promote(self.engineer, self.group, model_id, kinds.KNOWN)
        elif stage == "shadow":
            model_stages.shadow(self.engineer, self.group, model_id, kinds.KNOWN)
        else:
            model_stages.retire(self.engineer, self.group, model_id)
        self.partition.tell(controls.since(self.worker, self.progress, 0).controls)
        self.store()

    def send(self, messages: Iterable[dict]) -> None:
        records = [record(self.partition.position + n, each) for n, each in enumerate(messages)]
        end = self.partition.position + len(records)
        self.partition.fold(RecordBatch(SOURCE, "", self.partition.position, end, records), self.rules)
        self.store()

    def refuse(self) -> None:
        """Send something that becomes a dead letter."""
        at = self.partition.position
        self.partition.fold(RecordBatch(SOURCE, "", at, at + 1, [Record(at, BASE_MS, b"garbage")]), self.rules)
        self.store()

    def tick(self, at_s: float) -> None:
        assert self.partition.tick(BASE_MS + int(at_s * 1000), self.rules)
        self.store()

    def store(self) -> None:
        unit = self.partition.take_all(self.rules)
        assert unit is not None
        assert self.sink.store([unit]) == {SOURCE}
        self.partition.stored(unit)

    def save(self) -> None:
        """Keep the state as a worker does, for itself and for replays."""
        state, size = snapshots.encode(self.partition.state.to_arrays())
        applied = self.partition.state.registry.applied
        snapshot = Snapshot(SOURCE, self.partition.owner, self.partition.position, 1, state, size, applied)
        assert kept.save(self.worker, self.progress, snapshot)
        kept.keep(self.worker, self.progress, SOURCE, 0.0)


def nothing_stored(*_: object) -> Iterator[StoredEvents]:
    return iter(())


def cycle(number: int, machines: Iterable[str] = ("m0", "m1"), odd: str = "") -> list[dict]:
    """Return one operating cycle of some machines, side by side; one of them may be odd for a moment."""
    sent = []
    for step in range(MESSAGES):
        for place, machine in enumerate(machines):
            wave = math.sin(1.7 * step + 0.9 * place + 3.1 * number)
            hot = 25.0 if machine == odd and step == 7 else 0.0
            pressure = 7500.0 + 8 * number + wave
            sent.append(
                message(machine, number * CYCLE_S + step + place / 10, 60.0 + number + wave / 5 + hot, pressure)
            )
    return sent


def run(plant: StoredPlant) -> dict[str, int]:
    """Let a plant work for a while; return the numbers of its models.

    ::

        live life, class    a second life in the shadow    state kept    the second live, the first out    ticks
        ├───── 0, 1 ─────────────── 2, 3 ─────────────────────┼─────────────── 4, 5 (m0 odd) ──────────────┤
    """
    first = plant.learn(remaining_life())
    plant.learn(maintenance_class(7520.0))
    plant.send(cycle(0, ("m0", "m1", "m2")))
    plant.send(cycle(1))
    second = plant.learn(remaining_life(1), "shadow")
    plant.refuse()
    plant.send(cycle(2))
    plant.send(cycle(3))
    plant.save()
    plant.put(second, "live")
    plant.send(cycle(4))
    plant.send(cycle(5, odd="m0"))
    plant.tick(1000)
    return {"first": first, "second": second}

"""Rows as workers store them: machines, cycles, maintenance, and what models said; times in hours before now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg

from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.artefacts import Model
from pipeline.core.prognosis.failure_type import HORIZON, FailureType, Parameters
from pipeline.core.prognosis.features import FEATURE_VERSION
from pipeline.core.prognosis.kinds import KNOWN
from pipeline.store import model_stages, models
from pipeline.store.models import Candidate, Group

GROUP = Group("local", "pipeline")
BEGIN = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(days=4)


def at(hours: float) -> dt.datetime:
    """Return an event time in hours since some days ago."""
    return BEGIN + dt.timedelta(hours=hours)


def failure_type() -> FailureType:
    return FailureType(
        ("heat.last",), ("seal", "governor"), HORIZON,
        Parameters(np.zeros(1), np.ones(1), np.zeros((2, 2)), np.full(2, 0.5)),
    )  # fmt: skip


class Stored:
    """What a plant's workers have stored; all of it up to ``folded_h`` has been folded."""

    def __init__(self, admin: psycopg.Connection, folded_h: float | None = 90.0) -> None:
        """Begin; ``folded_h`` is ``None`` if somebody has folded already."""
        self.admin, self._offset = admin, 0
        if folded_h is None:
            return
        admin.execute(
            "INSERT INTO source_progress (cluster, consumer_group, topic, partition, source_id, effects_next, windows_next,"
            " watermark, cycles_to) VALUES ('local', 'pipeline', 't', 0, 0, 0, 0, %(at)s, %(at)s)",
            {"at": at(folded_h)},
        )

    def fold_to(self, hours: float) -> None:
        self.admin.execute("UPDATE source_progress SET cycles_to = %s, watermark = %s", [at(hours), at(hours)])

    def machine(self, machine_id: str, cycles: Sequence[tuple[float, float]] = ()) -> None:
        self.admin.execute(
            "INSERT INTO machine_state (machine_id, factory_id, machine_type, readings, last_seen, last_offset, source_id,"
            " messages, duplicates, late, unverified) VALUES (%s, 'f', 'press', '{}', now(), 0, 0, 0, 0, 0, 0)",
            [machine_id],
        )
        for started, ended in cycles:
            self.admin.execute(
                "INSERT INTO operating_cycle (machine_id, started, source_id, factory_id, ended, messages, gap_ms, goes_on)"
                " VALUES (%s, %s, 0, 'f', %s, 9, 1000, false)",
                [machine_id, at(started), at(ended)],
            )

    def record(
        self, machine_id: str, hours: float, kind: str = "failure", component: str = "seal", class_: int = -1
    ) -> None:
        self.admin.execute(
            "INSERT INTO maintenance_record (machine_id, cluster, source_topic, source_partition, source_offset, source_index,"
            " factory_id, kind, component, note, event_time, ingest_time, event_id, class)"
            " VALUES (%s, 'local', 't', 0, %s, 0, 'f', %s, %s, '', %s, now(), gen_random_uuid(), %s)",
            [machine_id, self._next(), kind, component, at(hours), class_],
        )

    def says(self, model: int, kind: str, machine_id: str, when: float | dt.datetime, **said: Any) -> None:
        row = {"value": 0.5, "lower": 0.5, "upper": 0.5, "label": "", "by_rules": "", "inputs": [1.0]} | said
        row |= {"model": model, "kind": kind, "machine": machine_id, "offset": self._next()}
        self.admin.execute(
            "INSERT INTO maintenance_prediction (machine_id, cluster, source_topic, source_partition, source_offset,"
            " source_index, kind, model_id, factory_id, event_time, stage, model_version, feature_version, label, value,"
            " lower, upper, hours_per_day, by_rules, inputs, worker, event_id, message_id) VALUES (%(machine)s, 'local', 't',"
            " 0, %(offset)s, 0, %(kind)s, %(model)s, 'f', %(at)s, 'live', 1, 1, %(label)s, %(value)s, %(lower)s, %(upper)s,"
            " 12, %(by_rules)s, %(inputs)s, 'w', gen_random_uuid(), gen_random_uuid())",
            row | {"at": when if isinstance(when, dt.datetime) else at(when)},
        )

    def model(self, model: Model, stage: str = "live", machine_type: str = "press", **about: Any) -> int:
        candidate = Candidate(machine_type, artefacts.encode(model, FEATURE_VERSION), **about)
        number = models.add(self.admin, GROUP, candidate, KNOWN)[0].model_id
        if stage == "live":
            model_stages.promote(self.admin, GROUP, number, KNOWN)
        elif stage == "shadow":
            model_stages.shadow(self.admin, GROUP, number, KNOWN)
        return number

    def _next(self) -> int:
        self._offset += 1
        return self._offset

"""R24: a pump's fault has a class, from the simulated pump to the anomaly."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from pipeline.core.anomalies import Anomaly
from pipeline.core.detectors.configuration import DetectorRules
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from simulator.options import PUMP_FAULTS, PlantOptions
from simulator.series import MACHINES, Series, series

RULES = FoldRules(detectors=DetectorRules(("multivariate",), alarms_per_machine_day=1.0))


def anomalies(pump: Series) -> list[Anomaly]:
    """Return what a worker finds in the messages of one pump as a whole."""
    times = np.datetime_as_string(pump.times_ms.astype("datetime64[ms]")).tolist()
    who = {"type": "pump", "factory_id": "f", "machine_id": "p", "machine_type": "hvac_pump"}
    records = []
    for n, (at_ms, time, values) in enumerate(zip(pump.times_ms.tolist(), times, pump.values.tolist(), strict=True)):
        readings = dict(zip(pump.sensors, values, strict=True))
        body = orjson.dumps(who | {"seq": n, "time": f"{time}Z", "readings": readings})
        records.append(Record(n, at_ms, body))
    batch = RecordBatch(SourcePartition("t", 0), "", 0, len(records), records)
    found = fold(PartitionState(), batch, RULES, Marks()).anomalies
    return [each for each in found if each.detector[0] == "multivariate"]


@pytest.mark.parametrize("kind", PUMP_FAULTS)
def test_a_pumps_fault_is_told_by_its_class(kind: str) -> None:
    options = PlantOptions(
        seed=5, machines=2, pump_share=0.5, interval_ms=20_000, fault_rate=2.0, fault_kinds=(kind,), fault_ms=3_600_000
    )
    pump = series(options, MACHINES["hvac_pump"], days=8.0)

    found = anomalies(pump)

    warm_ms = pump.times_ms[1600]
    told = [
        next((each.kind for each in found if episode.start_ms <= each.time_ms < episode.end_ms), "")
        for episode in pump.episodes
        if episode.start_ms > warm_ms
    ]
    assert len(told) > 6
    assert told.count(kind) >= 0.75 * len(told), told

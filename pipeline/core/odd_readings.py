"""Readings that a detector did not expect, as anomalies."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.anomalies import Anomaly
from pipeline.core.columns import Columns
from pipeline.core.detectors.catalogue import DETECTORS, Detector
from pipeline.core.detectors.model_bank import Alarm
from pipeline.core.detectors.pumps import pump_class
from pipeline.core.state import PartitionState


def odd_readings(state: PartitionState, columns: Columns, found: npt.NDArray[np.void]) -> list[Anomaly]:
    """Return spikes and dips, of :data:`pipeline.core.kernel.FOUND`, as anomalies."""
    return [
        _anomaly(
            columns,
            message,
            sensor=state.sensor_names[slot],
            kind="spike" if score > 0 else "dip",
            value=float(columns.values[reading]),
            expected=expected,
            score=abs(score),
        )
        for message, reading, slot, expected, score in found.tolist()
    ]


def alarm_readings(state: PartitionState, columns: Columns, found: npt.NDArray[np.void]) -> list[Anomaly]:
    """Return alarms, of :data:`pipeline.core.detectors.inspection.FOUND`, as anomalies.

    Where a machine as a whole is odd, the sensor that is most so stands for it; of a pump, the kind is the class of its fault.
    """
    return [
        _anomaly(
            columns,
            message,
            sensor=state.sensor_names[slot],
            kind=_kind(state, DETECTORS[detector], slot, value < expected, deviations),
            value=value,
            expected=expected,
            score=score,
            found_by=(DETECTORS[detector].name, version),
        )
        for message, slot, detector, version, value, expected, score, deviations in found.tolist()
    ]


def model_readings(state: PartitionState, columns: Columns, found: list[Alarm]) -> list[Anomaly]:
    """Return what River models found as anomalies; as they do not say what they expected, the value stands for that too."""
    return [
        _anomaly(
            columns,
            each.message,
            sensor=state.sensor_names[each.slot],
            kind=each.model.kind,
            value=each.value,
            expected=each.value,
            score=each.score,
            found_by=(each.model.path, each.model.version),
        )
        for each in found
    ]


def _anomaly(columns: Columns, message: int, **found: Any) -> Anomaly:
    """Return what was found in a message of a batch."""
    return Anomaly(**columns.place_of(message), message_ms=int(columns.times_ms[message]), **found)


def with_alarms(odd: list[Anomaly], alarms: list[Anomaly]) -> list[Anomaly]:
    """Return both, but what two detectors say of the same reading only once, as the one whose alarm it is says it."""
    told = {(each.offset, each.index, each.sensor, each.kind) for each in alarms}
    return [each for each in odd if (each.offset, each.index, each.sensor, each.kind) not in told] + alarms


def _kind(state: PartitionState, detector: Detector, slot: int, is_low: bool, deviations: list[float]) -> str:
    if not detector.of_machine:
        return "dip" if detector.of_readings and is_low else detector.kind
    slots = state.detectors.sensors_of(int(state.sensors.rows["machine"][slot]))
    names = (state.sensor_names[each] for each in slots)
    return pump_class(dict(zip(names, deviations, strict=False))) or detector.kind

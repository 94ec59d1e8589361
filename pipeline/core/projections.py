"""What a state has for the sink since the windows mark, as rows with their keys in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.effects import MachineRow, WindowRows
from pipeline.core.maintenance.judgement import WINDOW_MS
from pipeline.core.maintenance.requirements import RequirementRows
from pipeline.core.maintenance.rules import CLASSES
from pipeline.core.state import PartitionState
from pipeline.core.windowing.aggregates import CycleRows, FactoryRows
from pipeline.core.windowing.moments import beginnings, combine, endings
from pipeline.core.windowing.windows import FACTORY_MS


def machine_rows(state: PartitionState) -> list[MachineRow]:
    """Return what changed about machines."""
    counts = state.counts.rows[: state.counts.used]
    changed = (counts["messages"] > 0) | (counts["duplicates"] > 0) | (counts["silences"] > 0)
    readings: dict[int, dict[str, float]] = {row: {} for row in np.flatnonzero(changed).tolist()}
    sensors = state.sensors.rows[: state.sensors.used]
    for slot in np.flatnonzero(changed[sensors["machine"]] & (sensors["known"] == 1)).tolist():
        readings[int(sensors["machine"][slot])][state.sensor_names[slot]] = float(sensors["last"][slot])
    return [
        MachineRow(
            machine_id=state.machine_ids[row],
            factory_id=state.factory_ids[row],
            machine_type=state.machine_types[row],
            line_id=state.line_ids[row],
            readings=last,
            is_silent=state.silence.is_silent(row),
            last_seen_ms=int(state.machines.rows["last_seen_ms"][row]),
            last_offset=int(state.machines.rows["last_offset"][row]),
            messages=int(counts["messages"][row]),
            duplicates=int(counts["duplicates"][row]),
            late=int(counts["late"][row]),
            very_late=int(counts["very_late"][row]),
            unverified=int(counts["unverified"][row]),
            missing=int(counts["missing"][row]),
        )
        for row, last in readings.items()
    ]


def window_rows(state: PartitionState, window_ms: int) -> WindowRows:
    """Return the window deltas, which begin anew; of a machine that moves, one for each factory that it was in."""
    deltas, factory_ids, first = state.forget_deltas(window_ms)
    slots = deltas["slot"]
    owners = state.sensors.rows["machine"][slots].tolist()
    return WindowRows(
        deltas=deltas,
        first=first,
        starts_ms=deltas["window"] * window_ms,
        machine_ids=[state.machine_ids[row] for row in owners],
        factory_ids=factory_ids,
        sensors=[state.sensor_names[slot] for slot in slots.tolist()],
    )


def whole_windows(windows: WindowRows) -> WindowRows:
    """Return the window deltas with one for each window, in the factory of its last reading."""
    deltas = windows.deltas
    slots, numbers = deltas["slot"], deltas["window"]
    # Within a slot by factory, then by window: where nobody has moved within a window, they only rise
    if not ((slots[1:] == slots[:-1]) & (numbers[1:] <= numbers[:-1])).any():
        return windows
    order = np.lexsort((deltas["last_index"], deltas["last_offset"], deltas["last_time_ms"], numbers, slots))
    deltas = deltas[order]
    first = beginnings(deltas["slot"], deltas["window"])
    ends = endings(first, len(deltas))
    whole, moments, which = deltas[ends], combine(deltas, first), order[ends]
    for name in ("count", "mean", "m2", "min", "max"):
        whole[name] = getattr(moments, name)
    for name in ("late", "very_late"):
        whole[name] = _sums(deltas[name], first)
    return WindowRows(
        deltas=whole,
        first=windows.first[which],
        starts_ms=windows.starts_ms[which],
        machine_ids=[windows.machine_ids[at] for at in which.tolist()],
        factory_ids=[windows.factory_ids[at] for at in which.tolist()],
        sensors=[windows.sensors[at] for at in which.tolist()],
    )


def factory_rows(windows: WindowRows) -> FactoryRows:
    """Return the window deltas of whole factories, in windows of :data:`pipeline.core.windowing.windows.FACTORY_MS`."""
    deltas, starts_ms = windows.deltas, windows.starts_ms // FACTORY_MS * FACTORY_MS
    factories, sensors = _numbered(windows.factory_ids), _numbered(windows.sensors)
    # Within a group by the order of last readings, so that its last row has the last one of all
    order = np.lexsort(
        (deltas["last_index"], deltas["last_offset"], deltas["last_time_ms"], sensors, factories, starts_ms)
    )
    deltas, starts_ms, factories, sensors = deltas[order], starts_ms[order], factories[order], sensors[order]
    first = beginnings(starts_ms, factories, sensors)
    which = order[first].tolist()
    return FactoryRows(
        starts_ms=starts_ms[first],
        factory_ids=[windows.factory_ids[at] for at in which],
        sensors=[windows.sensors[at] for at in which],
        moments=combine(deltas, first),
        last=deltas[endings(first, len(deltas))],
        late=_sums(deltas["late"], first),
        very_late=_sums(deltas["very_late"], first),
    )


def cycle_rows(state: PartitionState, gap_ms: int) -> CycleRows:
    """Return the closed fragments of operating cycles, which begin anew."""
    closed = state.cycles.take(gap_ms)
    rows = closed.machines.tolist()
    return CycleRows(
        closed=closed,
        gap_ms=gap_ms,
        machine_ids=[state.machine_ids[row] for row in rows],
        factory_ids=[state.factory_ids[row] for row in rows],
        sensors=[state.sensor_names[slot] for slot in closed.slots.tolist()],
    )


def requirement_rows(state: PartitionState) -> RequirementRows:
    """Return how many messages asked for which class of maintenance; counts begin anew."""
    counts = state.judgement.take()
    owners = [state.judgement.owners[slot] for slot in (counts["slot"] // CLASSES).tolist()]
    return RequirementRows(
        counts=counts,
        starts_ms=counts["window"] * WINDOW_MS,
        requirements=(counts["slot"] % CLASSES).astype(np.int64),
        machine_ids=[state.machine_ids[row] for row, _ in owners],
        factory_ids=[factory_id for _, factory_id in owners],
    )


def _numbered(texts: list[str]) -> npt.NDArray[np.int64]:
    """Return a number for each text, the same for the same; shape (n,)."""
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(text, len(numbers)) for text in texts), np.int64, len(texts))


def _sums(values: npt.NDArray[Any], first: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    return np.add.reduceat(values, first) if len(first) else values

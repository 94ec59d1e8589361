"""A sink in memory that merges as the database does, and a driver that feeds it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import orjson

from pipeline.core.effects import Effects, Projections
from pipeline.core.facts import Fact
from pipeline.core.fold import FoldRules, Marks, fold, project
from pipeline.core.maintenance.requirements import Recalculation, RequirementChange, RequirementRows
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.core.windowing.aggregates import CycleRows, FactoryRows
from tables import snapshots

SOURCE = SourcePartition("telemetry.machine", 0)
COUNTS = ("messages", "duplicates", "late", "very_late", "unverified", "missing")


class MemorySink:
    """Rows by key; a key that is stored twice is an error, as it would be in the database."""

    def __init__(self) -> None:
        self.events: dict[tuple[int, int], tuple[str, bytes]] = {}
        self.anomalies: dict[tuple[int, int, str, str], tuple[float, float, float]] = {}
        self.dead_letters: dict[tuple[int, int], str] = {}
        self.facts: dict[tuple[int, int], Fact] = {}
        self.new_machines: dict[tuple[int, int], str] = {}
        self.requirements: dict[tuple[int, int], RequirementChange] = {}
        self.recalculations: dict[tuple[int, int], Recalculation] = {}
        self.aggregates: dict[tuple[str, str, int, int], tuple[int, int, int, int]] = {}
        self.windows: dict[tuple[str, str, int], dict[str, float]] = {}
        self.factories: dict[tuple[str, str, int], dict[str, float]] = {}
        self.fragments: list[tuple[str, dict]] = []
        self.machines: dict[str, dict[str, float]] = {}
        self.marks = Marks()

    def store(self, effects: Effects) -> None:
        events = effects.events
        for offset, index, machine, body in zip(
            events.offsets.tolist(), events.indexes.tolist(), events.machine_ids, events.bodies, strict=True
        ):
            assert (offset, index) not in self.events, "stored twice"
            self.events[offset, index] = (machine, body)
        for a in effects.anomalies:
            key = (a.offset, a.index, a.sensor or a.machine_id, a.kind)
            assert key not in self.anomalies, "stored twice"
            self.anomalies[key] = (a.value, a.expected, a.score)
        for fact in effects.facts:
            assert (fact.offset, fact.index) not in self.facts, "stored twice"
            self.facts[fact.offset, fact.index] = fact
        for machine in effects.new_machines:
            assert (machine.offset, machine.index) not in self.new_machines, "stored twice"
            self.new_machines[machine.offset, machine.index] = machine.machine_id
        for rows, found in ((self.requirements, effects.requirements), (self.recalculations, effects.recalculations)):
            for each in found:
                assert (each.offset, each.index) not in rows, "stored twice"
                rows[each.offset, each.index] = each
        for letter in effects.dead_letters:
            assert (letter.offset, letter.index) not in self.dead_letters, "stored twice"
            self.dead_letters[letter.offset, letter.index] = str(letter.reason)
        self.marks = Marks(effects.next, self.marks.windows)

    def merge(self, due: Projections) -> None:
        assert due.expected == self.marks.windows
        rows = due.windows
        keys = zip(rows.machine_ids, rows.sensors, rows.starts_ms.tolist(), strict=True)
        assert len(set(keys)) == len(rows.deltas), "two of one key"
        for delta, first, start_ms, machine, sensor, factory in zip(
            rows.deltas,
            rows.first.tolist(),
            rows.starts_ms.tolist(),
            rows.machine_ids,
            rows.sensors,
            rows.factory_ids,
            strict=True,
        ):
            new = {name: delta[name].item() for name in delta.dtype.names} | {"factory": factory}
            key = (machine, sensor, start_ms)
            assert not (first and key in self.windows), "said to be new, and is there"
            self.windows[key] = merged(self.windows[key], new) if key in self.windows else new
        for m in due.machines:
            counts = self.machines.setdefault(m.machine_id, dict.fromkeys(COUNTS, 0))
            for name in COUNTS:
                counts[name] += getattr(m, name)
            counts["silent"] = m.is_silent
        for key, new in factory_deltas(due.factories).items():
            self.factories[key] = merged(self.factories[key], new) if key in self.factories else new
        self.fragments.extend(fragments_of(due.cycles))
        for key, (count, late, first, last) in counts_of(due.requirements).items():
            of_all, of_late, earliest, latest = self.aggregates.get(key, (0, 0, first, last))
            self.aggregates[key] = (of_all + count, of_late + late, min(earliest, first), max(latest, last))
        self.marks = Marks(self.marks.effects, due.next)

    def window_rows(self) -> dict[tuple[str, str, int], dict[str, float]]:
        return {(machine, sensor, at // 30_000): window_row(w) for (machine, sensor, at), w in self.windows.items()}

    def factory_rows(self) -> dict[tuple[str, str, int], dict[str, float]]:
        return {(factory, sensor, at // 60_000): window_row(w) for (factory, sensor, at), w in self.factories.items()}

    def cycle_rows(self, gap_ms: int = 30_000) -> dict[tuple[str, int], dict]:
        """Return the cycles that the fragments make, by machine and start."""
        cycles: list[tuple[str, dict]] = []
        for machine, new in sorted(self.fragments, key=lambda pair: (pair[0], pair[1]["started"])):
            if cycles and cycles[-1][0] == machine and new["started"] <= cycles[-1][1]["ended"] + gap_ms:
                cycles[-1] = machine, joined(cycles[-1][1], new)
            else:
                cycles.append((machine, new))
        return {(machine, cycle["started"]): cycle_row(cycle) for machine, cycle in cycles}


def counts_of(rows: RequirementRows) -> dict[tuple[str, str, int, int], tuple[int, int, int, int]]:
    """Return messages, late ones, first and last time by machine, factory, class and window start."""
    keys = list(
        zip(rows.machine_ids, rows.factory_ids, rows.requirements.tolist(), rows.starts_ms.tolist(), strict=True)
    )
    assert len(set(keys)) == len(keys), "two of one key"
    counted = (rows.counts[name].tolist() for name in ("count", "late", "first_ms", "last_ms"))
    return dict(zip(keys, zip(*counted, strict=True), strict=True))


def factory_deltas(rows: FactoryRows) -> dict[tuple[str, str, int], dict[str, float]]:
    """Return deltas by factory, sensor and window start."""
    found = {}
    for at, key in enumerate(zip(rows.factory_ids, rows.sensors, rows.starts_ms.tolist(), strict=True)):
        new = {name: getattr(rows.moments, name)[at].item() for name in ("count", "mean", "m2", "min", "max")}
        new |= {name: rows.last[at][name].item() for name in ("last", *ORDER)}
        assert key not in found, "two of one key"
        found[key] = new | {"late": rows.late[at].item(), "very_late": rows.very_late[at].item()}
    return found


def fragments_of(rows: CycleRows) -> list[tuple[str, dict]]:
    """Return closed fragments as pairs of machine and fragment."""
    closed, made = rows.closed, []
    for at, machine in enumerate(rows.machine_ids):
        new = {"started": closed.started_ms[at].item(), "ended": closed.ended_ms[at].item(), "readings": {}}
        new |= {"messages": closed.messages[at].item(), "goes_on": closed.goes_on[at].item()}
        made.append((machine, new))
    for at, (fragment, sensor) in enumerate(zip(closed.fragments.tolist(), rows.sensors, strict=True)):
        new = {name: getattr(closed.moments, name)[at].item() for name in ("count", "mean", "m2", "min", "max")}
        made[fragment][1]["readings"][sensor] = new | {"last_time": closed.last_time_ms[at].item()}
    return made


ORDER = ("last_time_ms", "last_offset", "last_index")


def window_row(w: dict[str, float]) -> dict[str, float]:
    return {**statistics(w), **{name: w[name] for name in ("last", "late", "very_late")}}


def cycle_row(cycle: dict) -> dict:
    readings = {
        sensor: {**statistics(some), "last_time": some["last_time"]} for sensor, some in cycle["readings"].items()
    }
    return {"ended": cycle["ended"], "messages": cycle["messages"], "readings": readings}


def statistics(w: dict[str, float]) -> dict[str, float]:
    return {
        "count": w["count"],
        "mean": w["mean"],
        "sd": math.sqrt(w["m2"] / (w["count"] - 1)) if w["count"] > 1 else 0.0,
        "min": w["min"],
        "max": w["max"],
    }


def joined(old: dict, new: dict) -> dict:
    """Return two connected fragments as one."""
    readings = dict(old["readings"])
    for sensor, some in new["readings"].items():
        both = together(readings[sensor], some) if sensor in readings else some
        last_time = max(some["last_time"], readings.get(sensor, some)["last_time"])
        readings[sensor] = both | {"last_time": last_time}
    return {
        "started": old["started"],
        "ended": max(old["ended"], new["ended"]),
        "messages": old["messages"] + new["messages"],
        "readings": readings,
    }


def merged(old: dict[str, float], new: dict[str, float]) -> dict[str, float]:
    latest = new if [new[k] for k in ORDER] >= [old[k] for k in ORDER] else old
    return {
        **together(old, new),
        "late": old["late"] + new["late"],
        "very_late": old["very_late"] + new["very_late"],
        "last": latest["last"],
        **{k: latest[k] for k in (*ORDER, "factory") if k in latest},
    }


def together(old: dict[str, float], new: dict[str, float]) -> dict[str, float]:
    count = old["count"] + new["count"]
    step = new["mean"] - old["mean"]
    return {
        "count": count,
        "mean": old["mean"] + step * new["count"] / count,
        "m2": old["m2"] + new["m2"] + step * step * old["count"] * new["count"] / count,
        "min": min(old["min"], new["min"]),
        "max": max(old["max"], new["max"]),
    }


def record(offset: int, message: dict) -> Record:
    """Return a message of the plain model as a record; one without ``machine`` is a fact, or garbage."""
    if "fact" in message:
        return Record(offset, message["ingest_ms"], orjson.dumps(message["fact"]))
    if "machine" not in message:
        return Record(offset, message["ingest_ms"], message["garbage"])
    seconds, ms = divmod(message["time_ms"], 1000)
    body = {
        "type": "machine",
        "factory_id": message.get("factory", "aurora"),
        "machine_id": message["machine"],
        "machine_type": "stamping_press",
        "time": f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{ms:03}Z",
        "readings": message["readings"],
    }
    if message["seq"] >= 0:
        body["seq"] = message["seq"]
    return Record(offset, message["ingest_ms"], orjson.dumps(body))


def records_of(messages: Iterable[dict]) -> list[Record]:
    """Return messages of the plain model as the records of a log that begins with them."""
    return [record(offset, message) for offset, message in enumerate(messages)]


def folded(messages: Iterable[dict], rules: FoldRules, cuts: Iterable[int] = (), merge_every: int = 1) -> MemorySink:
    """Return what is stored after messages; cuts and merges as of :func:`feed`."""
    sink = MemorySink()
    feed(sink, PartitionState(), records_of(messages), cuts, rules, merge_every=merge_every)
    return sink


def resumed(
    messages: Iterable[dict], rules: FoldRules, cuts: Iterable[int], snapshot_at: int, reach: Marks
) -> MemorySink:
    """Return what is stored after messages by two owners: the first keeps a snapshot, gets each mark somewhere behind it and
    vanishes; the next one folds from the snapshot."""
    records = records_of(messages)
    start = min(snapshot_at, *vars_of(reach), len(records))
    sink, state = MemorySink(), PartitionState()
    feed(sink, state, records[:start], cuts, rules)
    kept, _ = snapshots.encode(state.to_arrays())
    feed(sink, state, records, cuts, rules, start=start, reach=reach)
    feed(sink, snapshots.decode(kept), records, cuts, rules, start=start)
    return sink


def feed(
    sink: MemorySink,
    state: PartitionState,
    records: Sequence[Record],
    cuts: Iterable[int],
    rules: FoldRules,
    start: int = 0,
    merge_every: int = 1,
    reach: Marks | None = None,
) -> None:
    """Fold records from ``start`` on, cut into batches at ``cuts``; merge windows after every n-th batch and at the end.

    ``reach`` is how far the owner gets with each mark before it vanishes.
    """
    marks, total = sink.marks, len(records)
    reach = reach or Marks(total, total)
    bounds = sorted({start, total, *(cut for cut in (*cuts, *vars_of(reach)) if start < cut < total)})
    for number, (first, end) in enumerate(pairwise(bounds)):
        effects = fold(state, RecordBatch(SOURCE, "owner", first, end, records[first:end]), rules, marks)
        if sink.marks.effects < end <= reach.effects:
            sink.store(effects)
        due = number % merge_every == 0 or end in {total, reach.windows}
        if due and sink.marks.windows < end <= reach.windows:
            sink.merge(project(state, sink.marks.windows, end, rules))


def vars_of(marks: Marks) -> tuple[int, int]:
    """Return both marks."""
    return marks.effects, marks.windows

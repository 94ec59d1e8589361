"""What a plant sends in four hours, and when it arrives: devices offline, out of order, with wrong clocks; corrected reports.

All of it follows from a seed and the day on which it begins. What is sent is its own ledger: :class:`Sent` says what a record
is about beside its body, and where the broker has it.
"""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.store.oee_computed import Shift

PARTITIONS = 4
HOUR_MS, MINUTE_MS = 3_600_000, 60_000
LENGTH_MS = 4 * HOUR_MS
INTERVAL_S = 5
# From one hour on for more than the allowed lateness
OFFLINE_MS = (HOUR_MS, 3 * HOUR_MS + 4 * MINUTE_MS)
OUT_OF_ORDER, SENT_TWICE = 0.05, 0.001

ZONES = {"aurora": "UTC", "borealis": "Europe/Berlin", "corvus": "America/St_Johns"}
MACHINES = {f"m-{number:02d}": factory for number, factory in zip(range(30), itertools.cycle(ZONES))}
LINES = {
    machine: f"{factory}-{number % 2}" for number, (machine, factory) in enumerate(MACHINES.items()) if number < 22
}
SKUS = ("A-1", "A-2", "A-3")
UNKNOWN_SKU = "B-9"
SHIFTS = {
    f"{factory}-{name}": Shift(factory, hours, tuple(range(1, 8)))
    for factory in ZONES
    for name, hours in (("early", ("06:00", "14:00")), ("late", ("14:00", "22:00")), ("night", ("22:00", "06:00")))
} | {
    "corvus-half": Shift("corvus", ("19:30", "20:15"), (1, 3, 5, 7)),
    "aurora-over": Shift("aurora", ("23:10", "00:20"), (2, 3, 4, 6)),
}

OFFLINE = "m-03", "m-16"
FAST_CLOCK, FAST_MS = "m-07", 90_000
RESTARTS = "m-08"
MOVES = "m-11"
SENSORS = {"temperature": (55.0, 2.4), "pressure": (7539.0, 14.0), "electricity": (29.4, 1.1)}


@dataclass
class Sent:
    """A record: where it goes, when it arrives (ms since the epoch, UTC), and what it says, by column of the ledger."""

    kind: str
    partition: int
    arrives_ms: int
    key: str
    body: bytes
    says: dict[str, Any] = field(default_factory=dict)
    offset: int = -1


def begins_ms(now: dt.datetime) -> int:
    """Return when a plant begins, ms since the epoch: in an evening that is over, recent enough for the log to keep it."""
    evening = now.astimezone(dt.UTC).replace(hour=21, minute=30, second=0, microsecond=0) - dt.timedelta(days=2)
    return round(evening.timestamp() * 1000)


def sent(seed: int, begin_ms: int) -> list[Sent]:
    """Return all records in the order of their arrival; equal ones stay in the order in which they were sent."""
    random_ = random.Random(seed)
    telemetry = [
        each
        for number, machine in enumerate(MACHINES)
        for each in _arrivals(random_, machine, _messages(random_, begin_ms, number, machine))
    ]
    records = [*_commands(begin_ms), *telemetry, *_reports(random_, begin_ms), *_closing(begin_ms)]
    return sorted(records, key=lambda each: each.arrives_ms)


def _text(time_ms: int) -> str:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(machine: str, factory: str, partition: int, seq: int, time_ms: int, readings: dict[str, int]) -> Sent:
    """Return a message; readings are whole thousandths, so that sums of them are exact."""
    body = {
        "type": "machine",
        "factory_id": factory,
        "machine_id": machine,
        "machine_type": "stamping_press",
        "time": _text(time_ms),
        "seq": seq,
        "readings": {sensor: value / 1000 for sensor, value in readings.items()},
    }
    says = {"machine_id": machine, "factory_id": factory, "seq": seq, "time_ms": time_ms, **readings}
    return Sent("telemetry", partition, time_ms, machine, orjson.dumps(body), says)


def _messages(random_: random.Random, begin_ms: int, number: int, machine: str) -> Iterator[Sent]:
    """Yield what a machine measures, in order: cycles with pauses between.

    No two machines measure in the same millisecond, so that everybody agrees on which reading of a factory is its last.
    """
    at_ms = last_ms = begin_ms + number
    seq = 0
    while at_ms < begin_ms + LENGTH_MS:
        sensors = [sensor for sensor in SENSORS if sensor != "electricity" or random_.random() < 0.8]
        until_ms = at_ms + random_.randint(10, 1500) * 1000
        while at_ms < min(until_ms, begin_ms + LENGTH_MS):
            readings = {sensor: round(random_.gauss(*SENSORS[sensor]) * 1000) for sensor in sensors}
            if random_.random() < 0.02:
                del readings[random_.choice(sensors[1:])]
            moved = machine == MOVES and at_ms >= begin_ms + LENGTH_MS // 2
            yield _message(machine, MACHINES[machine], (number + moved) % PARTITIONS, seq, at_ms, readings)
            seq = 0 if machine == RESTARTS and seq == 1000 else seq + 1
            last_ms = at_ms
            at_ms += random_.choice((4, 5, 5, 5, 6)) * 1000
        # From the newest message on: 30 s are no pause yet
        at_ms = last_ms + random_.choice((29, 30, 31, 45, 60, 120, 300)) * 1000


def _arrivals(random_: random.Random, machine: str, messages: Iterator[Sent]) -> Iterator[Sent]:
    """Yield messages as they arrive: soon, minutes late, after the device was offline, and some of them twice."""
    begin_ms, kept = 0, 0
    for each in messages:
        begin_ms = begin_ms or each.arrives_ms
        spacing_ms = INTERVAL_S * 1000
        if machine in OFFLINE and OFFLINE_MS[0] <= each.arrives_ms - begin_ms < OFFLINE_MS[1]:
            each.arrives_ms, kept, spacing_ms = begin_ms + OFFLINE_MS[1] + kept, kept + 2, 2
        elif machine == FAST_CLOCK:
            each.arrives_ms -= FAST_MS
        else:
            each.arrives_ms += random_.randint(50, 2000)
        if random_.random() < OUT_OF_ORDER:
            each.arrives_ms += random_.randint(1, 60) * spacing_ms
        yield each
        if random_.random() < SENT_TWICE:
            # Before the device has sent more than its memory of duplicates holds
            later_ms = random_.randint(0, 25) * spacing_ms
            yield Sent(each.kind, each.partition, each.arrives_ms + later_ms, each.key, each.body, each.says)


def _closing(begin_ms: int) -> Iterator[Sent]:
    """Yield a message for each partition from so much later that everything before is complete."""
    for partition in range(PARTITIONS):
        time_ms = begin_ms + LENGTH_MS + 20 * MINUTE_MS + len(MACHINES) + partition
        yield _message(f"closing-{partition}", "aurora", partition, 0, time_ms, {"temperature": 55_000 + partition})


def _commands(begin_ms: int) -> Iterator[Sent]:
    """Yield what adds factories, lines, SKUs, shifts, and some of the machines."""
    things = [("factory", each, {"name": each.title(), "time_zone": zone}) for each, zone in ZONES.items()]
    things += [
        ("line", f"{each}-{side}", {"factory_id": each, "name": f"Line {side}"}) for each in ZONES for side in range(2)
    ]
    things += [("sku", each, {"name": f"Part {each}", "ideal_cycle_s": 4}) for each in SKUS]
    things += [("machine", each, {"factory_id": MACHINES[each], "line_id": line}) for each, line in LINES.items()]
    things += [
        ("shift", each, {"factory_id": shift.factory_id, "name": each, "start": shift.hours[0], "end": shift.hours[1],
                         "weekdays": list(shift.weekdays)})
        for each, shift in SHIFTS.items()
    ]  # fmt: skip
    for number, (entity, which, body) in enumerate(things):
        command = {
            "type": "command",
            "command_id": f"add-{number}",
            "entity": entity,
            "id": which,
            "action": "add",
            "expected_version": 0,
            "body": body,
            "time": _text(begin_ms - HOUR_MS),
        }
        yield Sent("command", number % PARTITIONS, begin_ms - HOUR_MS, which, orjson.dumps(command))


def _reports(random_: random.Random, begin_ms: int) -> Iterator[Sent]:
    """Yield reports of quarters of an hour: some missing, late, without planned time, corrected or overlapped by later ones."""
    quarter_ms = 15 * MINUTE_MS
    for number, machine in enumerate(MACHINES):
        for start_ms in range(begin_ms, begin_ms + LENGTH_MS, quarter_ms):
            if random_.random() < 0.08:
                continue
            sku = random_.choice((*SKUS, *SKUS, UNKNOWN_SKU))
            arrives_ms = start_ms + quarter_ms + random_.choice((0, 0, 1, 5, 90)) * MINUTE_MS
            yield _report(random_, number, machine, sku, start_ms, start_ms + quarter_ms, arrives_ms)
            if random_.random() < 0.15:
                # Also at the same moment, and before the one that it is meant to correct
                corrected_ms = arrives_ms + random_.choice((-1, 0, 1, 20, 60)) * MINUTE_MS
                yield _report(random_, number, machine, sku, start_ms, start_ms + quarter_ms, corrected_ms)
            if random_.random() < 0.05:
                shifted_ms = start_ms + random_.choice((-20, -7, 4, 11)) * MINUTE_MS
                ends_ms = shifted_ms + random_.choice((9, 30)) * MINUTE_MS
                yield _report(random_, number, machine, sku, shifted_ms, ends_ms, ends_ms + HOUR_MS)
            if random_.random() < 0.1:
                yield _report(
                    random_, number, machine, random_.choice(SKUS), start_ms, start_ms + quarter_ms, arrives_ms
                )


def _report(
    random_: random.Random, number: int, machine: str, sku: str, start_ms: int, end_ms: int, arrives_ms: int
) -> Sent:
    planned_s = 0.0 if random_.random() < 0.06 else (end_ms - start_ms) / 1000 * random_.choice((1, 1, 0.9, 0.5))
    says = {
        "machine_id": machine,
        "factory_id": MACHINES[machine],
        "sku": sku,
        "good": 0 if random_.random() < 0.03 else random_.randint(50, 220),
        "snag": random_.randint(0, 12),
        "reject": random_.randint(0, 9),
        "planned_s": planned_s,
        # Now and then more than was planned, or nothing
        "run_s": 0.0 if random_.random() < 0.03 else round(random_.uniform(0.6, 1.1) * (planned_s or 300.0), 1),
        "ideal_cycle_s": random_.choice((2.5, 4.0)),
    }
    body = {"type": "quality", **says, "period_start": _text(start_ms), "period_end": _text(end_ms)}
    says |= {"period_start": start_ms, "period_end": end_ms}
    return Sent(
        "quality", number % PARTITIONS, max(arrives_ms, end_ms - HOUR_MS // 2), machine, orjson.dumps(body), says
    )

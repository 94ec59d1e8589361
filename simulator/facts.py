"""What the MES reports of machines, and what maintenance does to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from simulator.messages import Machine, Message, Sent
from simulator.options import PlantOptions

COMPONENTS: Mapping[str, Sequence[str]] = {
    "stamping_press": ("hydraulic pump", "ram guide", "die", "clutch"),
    "cnc_machine": ("spindle", "tool changer", "coolant pump", "guideway"),
}
KINDS = ("planned", "unplanned", "failure")
NOTES = ("", "inspected", "worn, replaced", "greased", 'set to 0.2 mm, see "manual", page 7')

_KIND_SHARES = (0.6, 0.3, 0.1)
_REJECT_SHARE, _SNAG_SHARE = 0.02, 0.03
_NEW_SKU_SHARE = 0.1


def quality_records(options: PlantOptions, machines: Sequence[Machine], random: np.random.Generator) -> Iterator[Sent]:
    """Yield the reports of the MES in the order in which they are due, for ever: one per machine and interval, at its end.

    Machines take turns; the first period of each has begun before the plant does. Now and then a machine makes another
    SKU; now and then it runs longer than planned.
    """
    interval_ms, count = options.quality_interval_ms, len(machines)
    skus = np.arange(count) % options.skus
    # No report tells of a time before 1970
    first = max(0, int(np.ceil((interval_ms - options.start_ms) * count / interval_ms)))
    for nth in range(first, 2**62):
        machine = nth % count
        end_ms = int(options.start_ms + nth * interval_ms / count)
        made = _made(int(skus[machine]), interval_ms / 1000, random)
        begin_ms = int(end_ms - interval_ms)
        said: dict[str, Any] = {
            "sku": f"SKU-{skus[machine]:05d}",
            "period_start": _time(begin_ms),
            "period_end": _time(end_ms),
        }
        yield fact(options, machines[machine], "quality", end_ms, said | made)
        if random.random() < _NEW_SKU_SHARE:
            skus[machine] = random.integers(options.skus)


def maintenance_records(
    options: PlantOptions, machines: Sequence[Machine], random: np.random.Generator
) -> Iterator[Sent]:
    """Yield maintenance records in the order in which they are due, for ever: a Poisson process over all machines."""
    at_ms = float(options.start_ms)
    while True:
        at_ms += random.exponential(options.maintenance_interval_ms / len(machines))
        machine = machines[int(random.integers(len(machines)))]
        components = COMPONENTS[machine.machine_type]
        note = NOTES[int(random.integers(len(NOTES)))]
        said = {
            "kind": KINDS[random.choice(len(KINDS), p=_KIND_SHARES)],
            "component": components[int(random.integers(len(components)))],
            "time": _time(int(at_ms)),
        }
        yield fact(options, machine, "maintenance", int(at_ms), said | ({"note": note} if note else {}))


def _made(sku: int, planned_s: float, random: np.random.Generator) -> dict[str, Any]:
    """Return what was made in a period."""
    ideal_cycle_s = 4.0 + sku % 12 * 0.5
    run_s = round(planned_s * random.uniform(0.7, 1.02), 3)
    total = int(run_s / ideal_cycle_s * random.uniform(0.85, 1.0))
    reject, snag = int(random.binomial(total, _REJECT_SHARE)), int(random.binomial(total, _SNAG_SHARE))
    return {
        "good": max(0, total - reject - snag),
        "snag": snag,
        "reject": reject,
        "planned_s": planned_s,
        "run_s": run_s,
        "ideal_cycle_s": ideal_cycle_s,
    }


def fact(options: PlantOptions, machine: Machine, kind: str, at_ms: int, said: Mapping[str, Any]) -> Sent:
    """Return the record of what is said about a machine.

    Parameters
    ----------
    kind
        ``quality`` or ``maintenance``.
    at_ms
        When it is sent, ms since the epoch, UTC.
    said
        What it says, beside whom it is about.
    """
    who: dict[str, Any] = {"type": kind, "factory_id": machine.factory_id, "machine_id": machine.machine_id}
    headers = (("iothub-connection-device-id", machine.key),) if options.device_headers else ()
    message = Message(machine.machine_id, machine.factory_id, None, at_ms, (), "{}")
    return Sent(machine.key, orjson.dumps({**who, **said}), headers, "sent", "", at_ms, (message,), kind)


def _time(at_ms: int) -> str:
    return f"{np.datetime_as_string(np.datetime64(at_ms, 'ms'), unit='ms')}Z"

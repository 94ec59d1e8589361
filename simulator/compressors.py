"""Compressors: machines that wear out. They send every second while they operate, and a maintenance record after every life."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from simulator.facts import fact
from simulator.lives import Life, lives
from simulator.messages import Machine, Message, Sent, canonical
from simulator.options import PlantOptions
from simulator.wear import COOL_DOWN_S, SENSORS, Floats, Shape, operate, rested

_READINGS = '{"speed":%.2f,"temperature":%.2f,"pressure":%.2f,"vibration":%.3f}'


class Cycle(NamedTuple):
    """One operating cycle.

    Parameters
    ----------
    life
        That it is of.
    number
        From 0 on, in this life.
    start_ms
        Event time of its first message, ms since the epoch, UTC; one follows every second.
    values
        What is measured, not rounded yet; shape (seconds, sensors).
    """

    life: Life
    number: int
    start_ms: int
    values: Floats


def compressor(options: PlantOptions, number: int) -> Machine:
    """Return the compressor of a number, from 0 on; they are dealt out to the factories in turn.

    Examples
    --------
    >>> compressor(PlantOptions(), 6)[:3]
    ('compressor-00006', 'borealis', 'compressor')
    """
    machine_id, factory_id = f"compressor-{number:05d}", options.factories[number % len(options.factories)]
    who = f'"factory_id":"{factory_id}","machine_id":"{machine_id}","machine_type":"compressor"'
    before = f'{{"type":"machine",{who},"time":"'
    return Machine(machine_id, factory_id, "compressor", False, machine_id.encode(), before)


def cycles(options: PlantOptions, number: int) -> Iterator[Cycle]:
    """Yield the operating cycles of a compressor, one after the other, for ever.

    Parameters
    ----------
    number
        Of the compressor, from 0 on.

    Examples
    --------
    >>> found = next(cycles(PlantOptions(seed=1), 0))
    >>> found.life.machine_id, found.values.shape
    ('compressor-00000', (300, 4))
    """
    machine_id, factory_id = compressor(options, number)[:2]
    for life in lives(options, number, machine_id, factory_id):
        random = np.random.default_rng([options.seed, 9, number, life.number])
        state, operated_s = rested(), life.age_s
        for nth, (start_ms, length_s) in enumerate(zip(life.starts_ms, life.cycles_s, strict=True)):
            seal_s, governor_s = ((fails_s - operated_s) * options.wear_pace for fails_s in life.fails_s)
            shape = Shape((seal_s, governor_s), options.wear_pace, length_s - COOL_DOWN_S)
            noise = random.uniform(-1.0, 1.0, (length_s, len(SENSORS)))
            yield Cycle(life, nth, start_ms, operate(state, shape, noise))
            operated_s += length_s


def compressor_records(options: PlantOptions) -> Iterator[Sent]:
    """Yield what the compressors of a plant send, in the order in which it is due, for ever."""
    each = (_records(options, number) for number in range(options.wear_machines))
    return heapq.merge(*each, key=lambda record: record.due_ms)


def _records(options: PlantOptions, number: int) -> Iterator[Sent]:
    sender, seq = compressor(options, number), 0
    headers = (("iothub-connection-device-id", sender.key),) if options.device_headers else ()
    for cycle in cycles(options, number):
        life = cycle.life
        times_ms = cycle.start_ms + 1_000 * np.arange(len(cycle.values))
        texts = np.datetime_as_string(times_ms.astype("datetime64[ms]"), unit="ms").tolist()
        for time, at_ms, numbers in zip(texts, times_ms.tolist(), cycle.values.tolist(), strict=True):
            readings = _READINGS % tuple(numbers)
            body = canonical(sender, time, seq, readings).encode()
            message = Message(sender.machine_id, sender.factory_id, seq, at_ms, (), readings, None, life)
            yield Sent(sender.key, body, headers, "sent", "", at_ms, (message,))
            seq += 1
        if cycle.number == len(life.cycles_s) - 1:
            yield _repair(options, sender, life)


def _repair(options: PlantOptions, sender: Machine, life: Life) -> Sent:
    said = {
        "kind": life.kind,
        "component": life.component,
        "time": f"{np.datetime_as_string(np.datetime64(life.repaired_ms, 'ms'), unit='ms')}Z",
        "downtime_s": (life.repaired_ms - life.ended_ms) // 1_000,
    }
    return fact(options, sender, "maintenance", life.repaired_ms, said)

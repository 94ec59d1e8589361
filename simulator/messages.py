"""What a machine says: a message with its ground truth, and the record it is sent in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from simulator.episodes import Episode
from simulator.lives import Life

SENSORS = ("temperature", "pressure", "electricity", "ambient_temperature", "humidity")
"""The sensors of the lab preset, in the order of the columns of their readings."""


class Message(NamedTuple):
    """One message and the truth about it.

    Parameters
    ----------
    seq
        Device sequence number; ``None`` in the reference lab's format.
    event_time_ms
        Device time, ms since the epoch, UTC.
    anomalies
        (sensor, ``spike`` or ``dip``) of every reading that is not drawn from its normal distribution.
    readings
        JSON object of sensor and value, in canonical names, with the numbers exactly as they are sent.
    episode
        The fault that its machine has meanwhile.
    life
        Of its machine, if that wears out.
    """

    machine_id: str
    factory_id: str
    seq: int | None
    event_time_ms: int
    anomalies: tuple[tuple[str, str], ...]
    readings: str
    episode: Episode | None = None
    life: Life | None = None


class Sent(NamedTuple):
    """One record as a machine sends it.

    Parameters
    ----------
    kind
        ``sent``, ``duplicate``, ``late``, ``out_of_order``, ``offline`` or ``garbage``.
    fault
        Which :class:`simulator.garbage.Garbage` it is; empty for all else.
    due_ms
        When it is sent, in event time, ms since the epoch, UTC; not before the event time of its last message.
    messages
        Its messages; more than one in an array record. Of garbage: the one that was spoilt.
    type
        ``machine``, ``pump``, ``quality`` or ``maintenance``.
    """

    key: bytes
    body: bytes
    headers: Sequence[tuple[str, bytes]]
    kind: str
    fault: str
    due_ms: int
    messages: tuple[Message, ...]
    type: str = "machine"

    @property
    def is_fact(self) -> bool:
        """Whether it is no telemetry."""
        return self.type in {"quality", "maintenance"}


class Machine(NamedTuple):
    """A machine, with what is the same in all its messages.

    Parameters
    ----------
    before_time
        JSON up to the time (canonical) or up to the readings (lab).
    """

    machine_id: str
    factory_id: str
    machine_type: str
    speaks_lab: bool
    key: bytes
    before_time: str


def machine(number: int, factories: Sequence[str], speaks_lab: bool) -> Machine:
    """Return the machine of a number; even numbers are stamping presses, odd ones CNC machines.

    Examples
    --------
    >>> machine(42, ["aurora"], speaks_lab=False).machine_id
    'press-00042'
    >>> machine(42, ["aurora"], speaks_lab=True).machine_id
    '100042'
    """
    short, kind = (("press", "stamping_press"), ("cnc", "cnc_machine"))[number % 2]
    place = number % len(factories)
    if speaks_lab:
        machine_id, factory_id = str(100_000 + number), str(place + 1)
        before = f'{{"factoryId":{factory_id},"machine":{{"machineId":{machine_id}'
    else:
        machine_id, factory_id = f"{short}-{number:05d}", factories[place]
        before = f'{{"type":"machine","factory_id":"{factory_id}","machine_id":"{machine_id}","machine_type":"{kind}","time":"'
    return Machine(machine_id, factory_id, kind, speaks_lab, machine_id.encode(), before)


_READINGS = '{"temperature":%.2f,"pressure":%.2f,"electricity":%.2f,"ambient_temperature":%.2f,"humidity":%.1f}'
_LAB = (
    ',"temperature":%.2f,"pressure":%.2f,"electricityUtilization":%.2f},"ambient":{"temperature":%.2f,"humidity":%.1f},'
    '"timeCreated":"'
)


def readings_text(values: tuple[float, ...]) -> str:
    """Return the readings as a JSON object; ``values`` in the order of :data:`SENSORS`.

    Examples
    --------
    >>> readings_text((55.0, 7539.0, 29.36, 22.6, 20.0))
    '{"temperature":55.00,"pressure":7539.00,"electricity":29.36,"ambient_temperature":22.60,"humidity":20.0}'
    """
    return _READINGS % values


def canonical(machine: Machine, time: str, seq: int, readings: str) -> str:
    """Return a message in the canonical format; ``time`` is ISO 8601 in UTC without the ``Z``."""
    return f'{machine.before_time}{time}Z","seq":{seq},"readings":{readings}}}'


def lab(machine: Machine, time: str, values: tuple[float, ...]) -> str:
    """Return a message in the reference lab's format; ``time`` is ISO 8601 in UTC without the ``Z``.

    Examples
    --------
    >>> press = machine(42, ["aurora"], speaks_lab=True)
    >>> lab(press, "2026-11-21T22:00:00.000", (54.9, 7541.2, 29.5, 22.4, 20.0))[:66]
    '{"factoryId":1,"machine":{"machineId":100042,"temperature":54.90,"'
    """
    return f'{machine.before_time}{_LAB % values}{time}Z"}}'

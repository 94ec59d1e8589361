"""The accepted messages: canonical telemetry, the pumps' and the reference lab's, as types that check while they decode.

What the types do not take is read once more in plain Python (:func:`read_message`), which says what is wrong with it, or
accepts it after all: fields that nobody reads are allowed, but have to be proven storable too. Facts are read there only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from pipeline.core.checks import Refused, read_json, shown
from pipeline.core.dead_letters import DeadLetterReason as Reason
from pipeline.core.decoding.fact_messages import FactMessage, read_maintenance, read_quality
from pipeline.core.decoding.metadata import read_command
from pipeline.core.fields import (
    MAX_INTEGER,
    MAX_VALUE,
    kind_of,
    members,
    number_or_text,
    present,
    reading,
    sequence_number,
    text,
)

TYPES = ("machine", "pump", "quality", "maintenance", "command")
"""What a message may say as its ``type``."""

PUMP_TYPE = "hvac_pump"
"""Machine type of a pump that names none."""

PUMP_SENSORS = ("power", "temperature", "suction_pressure", "discharge_pressure", "vibration")

Name = Annotated[str, msgspec.Meta(min_length=1)]
Value = Annotated[float, msgspec.Meta(ge=-MAX_VALUE, le=MAX_VALUE)]
Number = Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]


class Telemetry(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Canonical telemetry, proven but for its time and for what :class:`pipeline.core.decoding.codec.CodecRules` limits.

    Parameters
    ----------
    time
        As it was sent.
    seq
        Device sequence number; -1: none.
    """

    factory_id: Name
    machine_id: Name
    machine_type: Name
    time: str
    readings: dict[str, Value]
    seq: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)] = -1
    type: Literal["machine", "pump"] = "machine"


class PumpTelemetry(Telemetry, gc=False):
    """Telemetry in the pumps' flat form."""


class _Pump(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    type: Literal["pump"]
    factory_id: Name
    pump_id: Name
    time: str
    machine_type: Name = PUMP_TYPE
    seq: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)] = -1
    power: Value | msgspec.UnsetType = msgspec.UNSET
    temperature: Value | msgspec.UnsetType = msgspec.UNSET
    suction_pressure: Value | msgspec.UnsetType = msgspec.UNSET
    discharge_pressure: Value | msgspec.UnsetType = msgspec.UNSET
    vibration: Value | msgspec.UnsetType = msgspec.UNSET


class _LabMachine(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    machine_id: Name | Number
    temperature: Value
    pressure: Value
    electricity_utilization: Value


class _LabAmbient(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    temperature: Value | msgspec.UnsetType = msgspec.UNSET
    humidity: Value | msgspec.UnsetType = msgspec.UNSET


class _Lab(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    factory_id: Name | Number
    machine: _LabMachine
    time_created: str
    ambient: _LabAmbient | msgspec.UnsetType = msgspec.UNSET
    type: Literal["machine"] = "machine"


_decode_telemetry = msgspec.json.Decoder(Telemetry).decode
_decode_lab = msgspec.json.Decoder(_Lab).decode
_decode_pump = msgspec.json.Decoder(_Pump).decode
_FAILURES = (msgspec.MsgspecError, ValueError, RecursionError)

_LAB_TIME = "timeCreated"
_LAB_MARK = f'"{_LAB_TIME}"'.encode()
_PUMP_MARK = b'"pump_id"'


def decode_exact(bodies: Sequence[bytes]) -> list[Telemetry | None]:
    """Return those messages that have exactly the fields of an accepted one, ``None`` for the others; shape (n,).

    Every string of such a message is read, so a body that decodes is proven: it is UTF-8 and JSON, and holds no U+0000 as
    long as it holds no escapes.
    """
    found: list[Telemetry | None] = []
    remaining = iter(bodies)
    while len(found) < len(bodies):
        try:
            found.extend(map(_decode_telemetry, remaining))
        except _FAILURES:
            # What came before the failure is in the list already
            found.append(_exact_other(bodies[len(found)]))
    return found


def _exact_other(body: bytes) -> Telemetry | None:
    try:
        if _PUMP_MARK in body:
            return _exact_pump(_decode_pump(body))
        if _LAB_MARK in body:
            return _exact_lab(_decode_lab(body))
    except _FAILURES:
        pass
    return None


def _exact_pump(pump: _Pump) -> Telemetry | None:
    values = [(name, getattr(pump, name)) for name in PUMP_SENSORS]
    readings = {name: value for name, value in values if value is not msgspec.UNSET}
    if not readings:
        return None
    return PumpTelemetry(pump.factory_id, pump.pump_id, pump.machine_type, pump.time, readings, pump.seq, "pump")


def _exact_lab(lab: _Lab) -> Telemetry:
    machine, ambient = lab.machine, lab.ambient
    readings = {
        "temperature": machine.temperature,
        "pressure": machine.pressure,
        "electricity": machine.electricity_utilization,
    }
    if ambient is not msgspec.UNSET:
        if ambient.temperature is not msgspec.UNSET:
            readings["ambient_temperature"] = ambient.temperature
        if ambient.humidity is not msgspec.UNSET:
            readings["humidity"] = ambient.humidity
    return Telemetry(str(lab.factory_id), str(machine.machine_id), "", lab.time_created, readings)


def read_message(body: bytes, header_type: str | None, max_depth: int) -> Telemetry | FactMessage:
    """Return the message of a body, whatever else is in it.

    Parameters
    ----------
    header_type
        The application property ``type``, for messages that do not say it themselves.

    Raises
    ------
    Refused
        If it is none of the accepted ones, or cannot be stored.

    Examples
    --------
    >>> read_message(b'{"factoryId": 1, "machine": {"machineId": 7}}', header_type="valve", max_depth=64)
    Traceback (most recent call last):
    pipeline.core.checks.Refused: type is 'valve'; this version reads machine, pump, quality, maintenance, command
    """
    message = read_json(body, max_depth)
    if not isinstance(message, dict):
        raise Refused(Reason.WRONG_SHAPE, f"the message is {kind_of(message)}; send an object")
    said = message.get("type", "machine" if header_type is None else header_type)
    if not isinstance(said, str):
        raise Refused(Reason.WRONG_SHAPE, f"type is {kind_of(said)}; send text")
    if said == "command":
        return read_command(message)
    if said == "quality":
        return read_quality(message)
    if said == "maintenance":
        return read_maintenance(message)
    return _telemetry(message, said)


def read_stored(body: bytes, header_type: str | None, max_depth: int) -> Telemetry | FactMessage:
    """Return a message that was accepted and stored before; as :func:`read_message`, but its headers may be gone.

    Only of facts is it known what those said: telemetry that names no machine type was a pump's.
    """
    try:
        return read_message(body, header_type, max_depth)
    except Refused as refused:
        if header_type is not None:
            raise
        try:
            return read_message(body, "pump", max_depth)
        except Refused:
            raise refused from None


def _telemetry(message: Mapping[str, Any], said: str) -> Telemetry:
    if said == "pump":
        return _canonical(message, PUMP_TYPE) if "readings" in message or "machine_id" in message else _pump(message)
    if said != "machine":
        raise Refused(Reason.UNKNOWN_TYPE, f"type is {shown(said)}; this version reads {', '.join(TYPES)}")
    if "readings" in message or "machine_id" in message or "factory_id" in message:
        return _canonical(message)
    if "machine" in message or "factoryId" in message or _LAB_TIME in message:
        return _lab(message)
    raise Refused(Reason.WRONG_SHAPE, "neither machine_id and readings nor machine is there; send an accepted message")


class Keys(NamedTuple):
    """What a sender calls the parts of a message."""

    factory_id: str
    machine_id: str
    machine_type: str
    time: str


_CANONICAL_KEYS = Keys("factory_id", "machine_id", "machine_type", "time")
_PUMP_KEYS = Keys("factory_id", "pump_id", "machine_type", "time")
_LAB_KEYS = Keys("factoryId", "machine.machineId", "", _LAB_TIME)


def keys_of(message: Telemetry) -> Keys:
    """Return what the sender of a message calls its parts."""
    if isinstance(message, PumpTelemetry):
        return _PUMP_KEYS
    return _CANONICAL_KEYS if message.machine_type else _LAB_KEYS


def _canonical(message: Mapping[str, Any], default_type: str = "") -> Telemetry:
    found = members(message, "readings")
    if not found:
        raise Refused(Reason.WRONG_SHAPE, "readings is empty; send at least one reading")
    if not set(map(type, found.values())) <= {int, float} or max(map(abs, found.values())) > MAX_VALUE:
        for name, value in found.items():
            reading(value, f"readings.{name}")
    return Telemetry(
        text(message, "factory_id"),
        text(message, "machine_id"),
        text(message, "machine_type") if "machine_type" in message or not default_type else default_type,
        text(message, "time"),
        found,
        sequence_number(message["seq"]) if "seq" in message else -1,
    )


def _pump(message: Mapping[str, Any]) -> Telemetry:
    factory_id, pump_id, time = (text(message, key) for key in ("factory_id", "pump_id", "time"))
    readings = {key: reading(message[key], key) for key in PUMP_SENSORS if key in message}
    if not readings:
        raise Refused(Reason.WRONG_SHAPE, f"none of {', '.join(PUMP_SENSORS)} is there; send at least one reading")
    machine_type = text(message, "machine_type") if "machine_type" in message else PUMP_TYPE
    seq = sequence_number(message["seq"]) if "seq" in message else -1
    return PumpTelemetry(factory_id, pump_id, machine_type, time, readings, seq, "pump")


def _lab(message: Mapping[str, Any]) -> Telemetry:
    machine = members(message, "machine")
    ambient = members(message, "ambient") if "ambient" in message else {}
    readings = {
        "temperature": reading(present(machine, "temperature", "machine."), "machine.temperature"),
        "pressure": reading(present(machine, "pressure", "machine."), "machine.pressure"),
        "electricity": reading(
            present(machine, "electricityUtilization", "machine."), "machine.electricityUtilization"
        ),
    }
    for key, name in (("temperature", "ambient_temperature"), ("humidity", "humidity")):
        if key in ambient:
            readings[name] = reading(ambient[key], f"ambient.{key}")
    factory_id, machine_id = number_or_text(message, "factoryId"), number_or_text(machine, "machineId", "machine.")
    return Telemetry(factory_id, machine_id, "", text(message, _LAB_TIME), readings)

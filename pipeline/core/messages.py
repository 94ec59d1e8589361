"""The accepted messages: canonical telemetry and the reference lab's, as types that check while they decode.

What the types do not take is read once more in plain Python (:func:`read_message`), which says what is wrong with it, or
accepts it after all: fields that nobody reads are allowed, but have to be proven storable too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from pipeline.core.checks import Refused, read_json, shown
from pipeline.core.dead_letters import DeadLetterReason as Reason

MAX_VALUE = 1e140
"""Largest reading of either sign: no float holds the sum of squares of larger ones."""

_MAX_INTEGER = 2**63 - 1

Name = Annotated[str, msgspec.Meta(min_length=1)]
Value = Annotated[float, msgspec.Meta(ge=-MAX_VALUE, le=MAX_VALUE)]
Number = Annotated[int, msgspec.Meta(ge=-_MAX_INTEGER, le=_MAX_INTEGER)]


class Telemetry(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Canonical telemetry, proven but for its time and for what :class:`pipeline.core.codec.CodecRules` limits.

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
    seq: Annotated[int, msgspec.Meta(ge=0, le=_MAX_INTEGER)] = -1
    type: Literal["machine"] = "machine"


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
_FAILURES = (msgspec.MsgspecError, ValueError, RecursionError)

_LAB_TIME = "timeCreated"
_LAB_MARK = f'"{_LAB_TIME}"'.encode()


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
            found.append(_exact_lab(bodies[len(found)]))
    return found


def _exact_lab(body: bytes) -> Telemetry | None:
    if _LAB_MARK not in body:
        return None
    try:
        lab = _decode_lab(body)
    except _FAILURES:
        return None
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


def read_message(body: bytes, header_type: str | None, max_depth: int) -> Telemetry:
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
    >>> read_message(b'{"factoryId": 1, "machine": {"machineId": 7}}', header_type="pump", max_depth=64)
    Traceback (most recent call last):
    pipeline.core.checks.Refused: type is 'pump'; this version reads 'machine'
    """
    message = read_json(body, max_depth)
    if not isinstance(message, dict):
        raise Refused(Reason.WRONG_SHAPE, f"the message is {_kind(message)}; send an object")
    _check_type(message.get("type", header_type) if header_type is not None else message.get("type", "machine"))
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
_LAB_KEYS = Keys("factoryId", "machine.machineId", "", _LAB_TIME)


def keys_of(message: Telemetry) -> Keys:
    """Return what the sender of a message calls its parts."""
    return _CANONICAL_KEYS if message.machine_type else _LAB_KEYS


def _check_type(found: object) -> None:
    if not isinstance(found, str):
        raise Refused(Reason.WRONG_SHAPE, f"type is {_kind(found)}; send text")
    if found != "machine":
        raise Refused(Reason.UNKNOWN_TYPE, f"type is {shown(found)}; this version reads 'machine'")


def _canonical(message: Mapping[str, Any]) -> Telemetry:
    found = _object(message, "readings")
    if not found:
        raise Refused(Reason.WRONG_SHAPE, "readings is empty; send at least one reading")
    if not set(map(type, found.values())) <= {int, float} or max(map(abs, found.values())) > MAX_VALUE:
        for name, value in found.items():
            _value(value, f"readings.{name}")
    return Telemetry(
        _text(message, "factory_id"),
        _text(message, "machine_id"),
        _text(message, "machine_type"),
        _text(message, "time"),
        found,
        _seq(message["seq"]) if "seq" in message else -1,
    )


def _lab(message: Mapping[str, Any]) -> Telemetry:
    machine = _object(message, "machine")
    ambient = _object(message, "ambient") if "ambient" in message else {}
    readings = {
        "temperature": _value(_present(machine, "temperature", "machine."), "machine.temperature"),
        "pressure": _value(_present(machine, "pressure", "machine."), "machine.pressure"),
        "electricity": _value(
            _present(machine, "electricityUtilization", "machine."), "machine.electricityUtilization"
        ),
    }
    for key, name in (("temperature", "ambient_temperature"), ("humidity", "humidity")):
        if key in ambient:
            readings[name] = _value(ambient[key], f"ambient.{key}")
    factory_id, machine_id = _number_or_text(message, "factoryId"), _number_or_text(machine, "machineId", "machine.")
    return Telemetry(factory_id, machine_id, "", _text(message, _LAB_TIME), readings)


def _present(message: Mapping[str, Any], key: str, where: str = "") -> Any:
    if key not in message:
        raise Refused(Reason.WRONG_SHAPE, f"{where}{key} is missing; send it")
    return message[key]


def _object(message: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = _present(message, key)
    if not isinstance(found, dict):
        raise Refused(Reason.WRONG_SHAPE, f"{key} is {_kind(found)}; send an object")
    return found


def _text(message: Mapping[str, Any], key: str, where: str = "") -> str:
    found = _present(message, key, where)
    if not isinstance(found, str) or not found:
        raise Refused(Reason.WRONG_SHAPE, f"{where}{key} is {_kind(found)}; send text that is not empty")
    return found


def _number_or_text(message: Mapping[str, Any], key: str, where: str = "") -> str:
    found = _present(message, key, where)
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) <= _MAX_INTEGER:
        return str(found)
    return _text(message, key, where)


def _seq(found: object) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= _MAX_INTEGER:
        what = shown(found) if isinstance(found, int | float) else _kind(found)
        raise Refused(Reason.WRONG_SHAPE, f"seq is {what}; send a whole number from 0 to 2**63 - 1, or leave it out")
    return found


def _value(found: object, key: str) -> float:
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise Refused(Reason.WRONG_SHAPE, f"{shown(key)} is {_kind(found)}; send a number, or leave it out")
    if abs(found) > MAX_VALUE:
        raise Refused(Reason.VALUE_OUT_OF_RANGE, f"{shown(key)} is {found!r}; send a number within ±{MAX_VALUE:g}")
    return float(found)


_KINDS: dict[type, str] = {dict: "an object", list: "an array", bool: "true or false", type(None): "null"}


def _kind(found: object) -> str:
    if isinstance(found, str):
        return f"the text {shown(found)}" if found else "empty"
    return _KINDS.get(type(found), "a number")

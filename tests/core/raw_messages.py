"""Raw messages, and how tests hand them to the codec."""

import json
from typing import Any

from pipeline.core.columns import Columns
from pipeline.core.dead_letters import DeadLetter
from pipeline.core.decoding.codec import CodecRules, decode
from pipeline.core.records import Record

NOW_MS = 1_795_298_400_000  # 2026-11-21T22:00:00Z
RULES = CodecRules()
LAB = {
    "factoryId": 1,
    "machine": {"machineId": 12345, "temperature": 55.0, "pressure": 7539, "electricityUtilization": 29.36},
    "ambient": {"temperature": 22.6, "humidity": 20},
    "timeCreated": "2026-11-21T22:00:00Z",
}


def _changed(message: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in (message | changes).items() if value is not ...}


def canonical(**changes: Any) -> dict[str, Any]:
    """A canonical message with some fields changed; ``...`` leaves one out."""
    message = {
        "type": "machine",
        "factory_id": "aurora",
        "machine_id": "press-00042",
        "machine_type": "stamping_press",
        "time": "2026-11-21T22:00:00.123Z",
        "seq": 18422,
        "readings": {"temperature": 55.1, "pressure": 7539.2},
    }
    return _changed(message, changes)


def quality(**changes: Any) -> dict[str, Any]:
    """An MES's report with some fields changed; ``...`` leaves one out."""
    message = {
        "type": "quality",
        "factory_id": "aurora",
        "machine_id": "press-00042",
        "sku": "A-10001",
        "period_start": "2026-11-21T21:45:00Z",
        "period_end": "2026-11-21T22:00:00Z",
        "good": 170,
        "snag": 6,
        "reject": 4,
        "planned_s": 900,
        "run_s": 812.5,
        "ideal_cycle_s": 4,
    }
    return _changed(message, changes)


def maintenance(**changes: Any) -> dict[str, Any]:
    """A maintenance record with some fields changed; ``...`` leaves one out."""
    message = {
        "type": "maintenance",
        "factory_id": "aurora",
        "machine_id": "press-00042",
        "kind": "planned",
        "component": "spindle",
        "time": "2026-11-21T21:10:00+01:00",
        "note": "grease",
    }
    return _changed(message, changes)


def pump(**changes: Any) -> dict[str, Any]:
    """A pump's message in the flat form with some fields changed; ``...`` leaves one out."""
    message = {
        "type": "pump",
        "factory_id": "aurora",
        "pump_id": "pump-00007",
        "time": "2026-11-21T22:00:00.123Z",
        "seq": 3,
        "power": 11.5,
        "temperature": 41,
        "suction_pressure": 1.2,
        "discharge_pressure": 3.9,
        "vibration": 0.8,
    }
    return _changed(message, changes)


def raw(message: object) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False).encode()


def read(*messages: object, headers: Any = (), rules: CodecRules = RULES) -> tuple[Columns, list[DeadLetter]]:
    return decode([Record(10 + i, NOW_MS, raw(m), b"k", headers) for i, m in enumerate(messages)], rules, {})


def refused(message: object, headers: Any = (), rules: CodecRules = RULES) -> DeadLetter:
    """The one dead letter of a record between two good ones, which are stored."""
    good = raw(canonical())
    records = [Record(1, NOW_MS, good), Record(2, NOW_MS, raw(message), b"key", headers), Record(5, NOW_MS, good)]

    columns, letters = decode(records, rules, {})

    assert columns.offsets.tolist() == [1, 5]
    assert columns.bodies == [good, good]
    assert columns.values.tolist() == 2 * [55.1, 7539.2]
    (letter,) = letters
    assert (letter.offset, letter.index, letter.key, letter.record_ms) == (2, 0, b"key", NOW_MS)
    assert letter.body == raw(message)
    assert letter.headers is headers
    assert letter.detail.isprintable()
    assert len(letter.detail) < 200
    return letter


def command(**other: object) -> dict[str, object]:
    """Return a command on a machine's metadata, with other fields instead of the usual ones."""
    usual = {
        "type": "command",
        "command_id": "c-1",
        "entity": "machine",
        "id": "m0",
        "action": "add",
        "expected_version": 0,
        "body": {"factory_id": "aurora"},
        "time": "2026-09-21T14:14:00Z",
    }
    return usual | other

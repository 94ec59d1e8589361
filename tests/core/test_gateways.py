"""Gateways speak for listed machines (R9): what a command says holds from its control record on."""

from __future__ import annotations

import orjson
import pytest

from pipeline.core.controls import METADATA, Control
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import Record, RecordBatch
from pipeline.core.state import PartitionState
from tests.core.raw_messages import NOW_MS, canonical, quality
from tests.core.sinks import SOURCE

BY_GATEWAY = [("iothub-connection-device-id", b"gateway-1")]


def told(state: PartitionState, version: int, *, removed: bool = False, **body: str) -> None:
    said = {"entity": "machine", "id": "press-00042", "version": version, "removed": removed, "changed_ms": 0}
    body = {"factory_id": "aurora"} | body
    state.registry.apply(Control(version, METADATA, said | {"command_id": "c", "body": body}))


def outcome(state: PartitionState, message: dict, at: int = 0) -> str:
    """Return the reason of the dead letter that a message from the gateway becomes; empty: it is accepted."""
    records = [Record(at, NOW_MS, orjson.dumps(message), b"k", BY_GATEWAY)]
    effects = fold(state, RecordBatch(SOURCE, "", at, at + 1, records), FoldRules(), Marks())
    return "".join(str(letter.reason) for letter in effects.dead_letters)


@pytest.mark.parametrize("message", [canonical(), quality()], ids=["telemetry", "report"])
def test_a_gateway_speaks_for_the_machines_that_name_it_and_for_no_other(message: dict) -> None:
    state = PartitionState()
    assert outcome(state, message) == "device_mismatch"

    told(state, 1, gateway="gateway-1")
    assert outcome(state, message) == ""
    assert outcome(state, message | {"machine_id": "press-00043"}) == "device_mismatch"

    told(state, 2, gateway="gateway-2")
    assert outcome(state, message) == "device_mismatch"


def test_a_machine_that_loses_its_gateway_or_is_removed_is_spoken_for_by_itself_alone() -> None:
    for change in ({}, {"removed": True}):
        state = PartitionState()
        told(state, 1, gateway="gateway-1")
        told(state, 2, **change)

        assert outcome(state, canonical()) == "device_mismatch"


def test_a_state_that_is_kept_knows_the_gateways() -> None:
    state = PartitionState()
    told(state, 1, gateway="gateway-1")

    assert outcome(PartitionState.from_arrays(state.to_arrays()), canonical()) == ""

"""Garbage against the codec: none of it is accepted, and all else is."""

from __future__ import annotations

import pytest

from pipeline.core.decoding.codec import CodecRules, decode
from pipeline.core.records import Record
from simulator.garbage import KINDS, Garbage, spoil
from simulator.messages import Sent
from simulator.options import PlantOptions
from simulator.plant import Plant


def record(offset: int, sent: Sent) -> Record:
    return Record(offset, sent.due_ms, sent.body, sent.key, sent.headers)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_garbage_is_refused_though_the_message_was_sound(kind: Garbage) -> None:
    (sent,) = Plant(PlantOptions(machines=1, messages=1))
    spoilt = sent._replace(body=spoil(sent.body.decode(), kind))

    accepted, letters = decode([record(0, sent), record(1, spoilt)], CodecRules(), {})

    assert accepted.offsets.tolist() == [0]
    assert [(letter.offset, letter.index) for letter in letters] == [(1, 0)]


def test_of_a_misbehaved_plant_the_codec_refuses_the_garbage_and_nothing_else() -> None:
    options = PlantOptions(
        machines=40,
        messages=2_000,
        garbage_share=0.1,
        array_share=0.1,
        lab_share=0.3,
        duplicate_share=0.1,
        late_share=0.1,
        device_headers=True,
    )
    records = list(Plant(options))

    accepted, letters = decode([record(n, sent) for n, sent in enumerate(records)], CodecRules(), {})

    assert {letter.offset for letter in letters} == {n for n, sent in enumerate(records) if sent.kind == "garbage"}
    said = [message for sent in records if sent.kind != "garbage" for message in sent.messages]
    assert accepted.machine_ids == [message.machine_id for message in said]
    assert accepted.factory_ids == [message.factory_id for message in said]
    assert accepted.times_ms.tolist() == [message.event_time_ms for message in said]
    assert accepted.seqs.tolist() == [-1 if message.seq is None else message.seq for message in said]

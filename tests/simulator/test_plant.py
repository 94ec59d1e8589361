"""What machines send: reproducible, in order of leaving, with the behaviour of real devices."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import orjson
from hypothesis import given, settings

from simulator.garbage import KINDS
from simulator.messages import Message, Sent
from simulator.options import PlantOptions
from simulator.plant import Plant

shares = st.sampled_from([0.0, 0.02, 0.3])
plants = st.builds(
    PlantOptions,
    seed=st.integers(0, 99),
    machines=st.sampled_from([1, 2, 7, 600, 1500]),
    messages=st.sampled_from([1, 50, 1200, 2500]),
    interval_ms=st.sampled_from([0.7, 333.3, 5000.0]),
    duplicate_share=shares,
    late_share=shares,
    out_of_order_share=shares,
    garbage_share=shares,
    offline_share=st.sampled_from([0.0, 0.001, 0.3]),
    offline_ms=st.sampled_from([1, 7_000, 120_000]),
    reboot_share=st.sampled_from([0.0, 0.01]),
    array_share=shares,
    lab_share=shares,
    device_headers=st.booleans(),
)


def sent(**options: object) -> list[Sent]:
    return list(Plant(PlantOptions(**options)))


def by_kind(records: list[Sent]) -> dict[str, list[Sent]]:
    groups: dict[str, list[Sent]] = defaultdict(list)
    for record in records:
        groups[record.kind].append(record)
    return groups


def of_machines(records: list[Sent]) -> dict[str, list[Message]]:
    groups: dict[str, list[Message]] = defaultdict(list)
    for record in records:
        groups[record.messages[0].machine_id].extend(record.messages)
    return groups


@given(plants)
@settings(max_examples=25)
def test_the_same_options_give_the_same_bytes(options: PlantOptions) -> None:
    assert list(Plant(options)) == list(Plant(options))


def test_another_seed_gives_other_bytes() -> None:
    assert sent(seed=1, machines=3, messages=9) != sent(seed=2, machines=3, messages=9)


@given(plants)
@settings(max_examples=25)
def test_records_leave_in_the_order_in_which_they_are_due_and_never_before_their_last_message(
    options: PlantOptions,
) -> None:
    records = list(Plant(options))
    dues = [record.due_ms for record in records]

    assert dues == sorted(dues)
    assert all(record.due_ms >= message.event_time_ms for record in records for message in record.messages)


@given(plants)
@settings(max_examples=25)
def test_every_duplicate_repeats_machine_seq_and_time_of_a_record_that_was_sent_before_it(
    options: PlantOptions,
) -> None:
    before: set[tuple] = set()
    for record in Plant(options):
        identity = (record.key, record.body, tuple((m.machine_id, m.seq, m.event_time_ms) for m in record.messages))
        if record.kind == "duplicate":
            assert identity in before
            assert all(message.seq is not None for message in record.messages)
        elif record.kind != "garbage" and record.messages[0].seq is not None:
            assert identity not in before
            before.add(identity)


@given(plants)
@settings(max_examples=25)
def test_without_duplicates_there_is_one_record_for_every_place(options: PlantOptions) -> None:
    records = list(Plant(options))

    assert sum(record.kind != "duplicate" for record in records) == options.messages


@given(plants)
@settings(max_examples=25)
def test_the_body_says_what_the_ledger_will_say(options: PlantOptions) -> None:
    for record in Plant(options):
        if record.kind == "garbage":
            continue
        decoded = orjson.loads(record.body)
        bodies = decoded if isinstance(decoded, list) else [decoded]
        assert len(bodies) == len(record.messages)
        for body, message in zip(bodies, record.messages, strict=True):
            said = body["readings"] if "readings" in body else lab_readings(body)
            assert said == orjson.loads(message.readings)
            if "seq" in body:
                assert (body["machine_id"], body["factory_id"], body["seq"]) == message[:3]
            else:
                assert (str(body["machine"]["machineId"]), str(body["factoryId"]), None) == message[:3]
            time = np.datetime64((body.get("time") or body["timeCreated"]).removesuffix("Z"), "ms")
            assert int(time.astype(np.int64)) == message.event_time_ms


def lab_readings(body: dict) -> dict[str, float]:
    of_machine, ambient = body["machine"], body["ambient"]
    return {
        "temperature": of_machine["temperature"],
        "pressure": of_machine["pressure"],
        "electricity": of_machine["electricityUtilization"],
        "ambient_temperature": ambient["temperature"],
        "humidity": ambient["humidity"],
    }


def test_machines_take_turns_evenly_spread_over_the_interval() -> None:
    records = sent(machines=4, messages=40, interval_ms=1_000)

    assert np.diff([record.due_ms for record in records]).tolist() == [250] * 39
    for messages in of_machines(records).values():
        assert np.diff([message.event_time_ms for message in messages]).tolist() == [1_000] * 9
        assert [message.seq for message in messages] == list(range(10))


def test_sequence_numbers_run_on_over_block_boundaries() -> None:
    for messages in of_machines(sent(machines=1_500, messages=4_500)).values():
        assert [message.seq for message in messages] == [0, 1, 2]


def test_a_late_message_leaves_within_its_longest_delay() -> None:
    kinds = by_kind(sent(machines=5, messages=2_000, late_share=0.2, late_max_ms=9_000))
    delays = [record.due_ms - record.messages[-1].event_time_ms for record in kinds["late"]]

    assert 300 < len(delays) < 500
    assert 0 <= min(delays) < 1_000
    assert 8_000 < max(delays) <= 9_000


def test_an_out_of_order_message_is_overtaken_by_exactly_the_next_one_of_its_machine() -> None:
    records = sent(machines=3, messages=900, out_of_order_share=0.1)
    kinds = {(m.machine_id, m.seq): r.kind for r in records for m in r.messages}
    place = {(m.machine_id, m.seq): at for at, r in enumerate(records) for m in r.messages}
    overtaken = [key for key, kind in kinds.items() if kind == "out_of_order"]

    assert len(overtaken) > 50
    for machine_id, seq in overtaken:
        if kinds.get((machine_id, seq + 1)) == "sent":
            assert place[machine_id, seq] > place[machine_id, seq + 1]
        if kinds.get((machine_id, seq + 2)) == "sent":
            assert place[machine_id, seq] < place[machine_id, seq + 2]


def test_an_offline_machine_is_silent_then_sends_everything_at_once_and_in_order() -> None:
    records = sent(machines=5, messages=3_000, interval_ms=1_000, offline_share=0.005, offline_ms=20_000)
    bursts: dict[tuple[str, int], list[Message]] = defaultdict(list)
    for record in by_kind(records)["offline"]:
        bursts[record.messages[0].machine_id, record.due_ms].extend(record.messages)

    assert len(bursts) > 5
    for (machine_id, until_ms), messages in bursts.items():
        times = [message.event_time_ms for message in messages]
        assert times == sorted(times)
        assert until_ms - 20_001 <= times[0]
        assert len(messages) in (19, 20, 21) or until_ms > records[-1].due_ms - 20_000
        spoken = [r.due_ms for r in records if r.kind == "sent" and r.messages[0].machine_id == machine_id]
        assert not [at for at in spoken if times[0] <= at < until_ms]


def test_a_small_plant_falls_silent_as_often_as_it_was_told_to() -> None:
    records = sent(machines=2, messages=40_000, interval_ms=1_000, offline_share=0.005, offline_ms=3_000)
    outages = {(r.messages[0].machine_id, r.due_ms) for r in records if r.kind == "offline"}

    assert 130 < len(outages) < 270


def test_a_rebooted_machine_begins_again_at_zero_but_never_repeats_seq_and_time() -> None:
    for messages in of_machines(sent(machines=2, messages=2_000, reboot_share=0.01)).values():
        seqs = [message.seq for message in messages]
        assert 2 <= seqs.count(0) < 50
        assert all(after in (before + 1, 0) for before, after in pairwise(seqs))
        assert len({(message.seq, message.event_time_ms) for message in messages}) == len(messages)


def test_an_array_holds_consecutive_messages_of_one_machine_before_its_next_turn() -> None:
    records = sent(machines=3, messages=300, interval_ms=900, array_share=0.5, array_length=3)
    arrays = [record for record in records if len(record.messages) > 1]

    assert 100 < len(arrays) < 200
    for record in arrays:
        first = record.messages[0]
        assert [m.seq - first.seq for m in record.messages] == [0, 1, 2]
        assert [m.event_time_ms - first.event_time_ms for m in record.messages] == [0, 300, 600]
        assert record.due_ms == record.messages[-1].event_time_ms


def test_a_machine_that_speaks_the_lab_format_has_no_seq_and_sends_no_duplicates() -> None:
    records = sent(machines=20, messages=400, lab_share=1.0, duplicate_share=0.5)

    assert {record.kind for record in records} == {"sent"}
    assert all(message.seq is None for record in records for message in record.messages)


def test_device_headers_name_the_machine() -> None:
    records = sent(machines=3, messages=6, device_headers=True)

    assert all(record.headers == (("iothub-connection-device-id", record.key),) for record in records)
    assert all(record.headers == () for record in sent(machines=3, messages=6))


def test_garbage_comes_in_every_kind_equally_often_and_keeps_the_message_it_was() -> None:
    garbage = by_kind(sent(machines=4, messages=2_800, garbage_share=0.2))["garbage"]
    counts = Counter(record.fault for record in garbage)

    assert counts.keys() == set(KINDS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(len(record.messages) == 1 for record in garbage)


def test_fifty_thousand_sensors_all_speak_within_one_interval() -> None:
    records = sent(machines=10_000, messages=10_000)

    assert len({record.key for record in records}) == 10_000
    assert records[-1].due_ms - records[0].due_ms < 5_000
    assert Counter(record.messages[0].factory_id for record in records) == dict.fromkeys(
        PlantOptions().factories, 2_000
    )

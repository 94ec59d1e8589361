"""Verifying a ledger: sound tables hold, and every message lost, doubled or too many is found and named."""

from __future__ import annotations

import datetime as dt

import orjson
import pytest

from pipeline.core.banks import MEMORY
from pipeline.verifying.verify import Bounds
from simulator.ledger import LedgerRow
from tests.verify.tables import Tables, accepted, assert_only, at, identity, message, place, sound


def test_sound_tables_hold(tables: Tables, rows: list[LedgerRow]) -> None:
    found = tables.verify()

    assert_only(found)
    assert found.examples == ()
    assert found.sent == len(rows)
    assert found.stored == len(accepted(rows))
    assert found.dead_letters == sum(row.kind == "garbage" for row in rows) > 0
    assert found.device_duplicates == sum(row.kind == "duplicate" for row in rows) > 0
    assert found.sent == found.stored + found.dead_letters + found.device_duplicates
    assert found.anomalies == found.anomalies_true == found.anomalies_found > 0
    assert found.windows == tables.admin.execute("SELECT count(*) FROM reading_window").fetchone()[0] > 100


def test_the_summary_is_json(tables: Tables, rows: list[LedgerRow]) -> None:
    summary = orjson.loads(orjson.dumps(tables.verify().summary))

    assert summary["holds"] is True
    assert summary["sent"] == len(rows)
    assert summary["examples"] == []


@pytest.mark.parametrize("share", ["all", "one"])
def test_a_lost_message_is_found(tables: Tables, rows: list[LedgerRow], share: str) -> None:
    if share == "all":
        tables.admin.execute("TRUNCATE event, reading_window")
        assert_only(tables.verify(), lost=len({identity(row) for row in rows if row.kind != "garbage"}))
        return
    lost = sound(rows)
    tables.admin.execute("DELETE FROM event " + at(lost))

    found = tables.verify()

    assert_only(found, lost=1, windows_wrong=5)
    assert f"lost {place(lost)} {lost.machine_id}" in found.examples


def test_a_lost_original_is_not_made_good_by_a_duplicate_that_was_dropped(
    tables: Tables, rows: list[LedgerRow]
) -> None:
    copies = [identity(row) for row in rows]
    original = next(r for r in accepted(rows) if r.seq is not None and copies.count(identity(r)) == 2)
    tables.admin.execute("DELETE FROM event " + at(original))

    assert tables.verify().lost == 1


def test_a_row_that_was_stored_twice_is_doubled(tables: Tables, rows: list[LedgerRow]) -> None:
    tables.store_event(sound(rows))

    found = tables.verify()

    assert_only(found, doubled=1)
    assert found.examples == (f"doubled {place(sound(rows))} {sound(rows).machine_id}",)


def test_a_duplicate_that_a_device_sent_and_that_was_stored_is_doubled(tables: Tables) -> None:
    sent = tables.send([message(0), message(1), message(0)])
    tables.store(sent)
    assert_only(tables.verify())

    tables.store_event(sent[2])

    assert tables.verify().doubled == 1


def test_the_same_seq_at_another_time_is_no_duplicate(tables: Tables) -> None:
    tables.store(tables.send([message(0), message(1), message(0, at_ms=1_800_000_005_000)]))

    found = tables.verify()
    assert_only(found)
    assert (found.stored, found.device_duplicates) == (3, 0)


@pytest.mark.parametrize(("between", "unverified"), [(MEMORY - 1, 0), (MEMORY, 1)])
def test_a_duplicate_older_than_the_memory_may_be_stored(tables: Tables, between: int, unverified: int) -> None:
    sent = tables.send([*(message(seq) for seq in range(between + 1)), message(0)])
    tables.store(sent)

    found = tables.verify()

    assert_only(found, unverified=unverified)
    assert found.stored == between + 1 + unverified


def test_a_duplicate_that_the_fold_could_not_remember_is_lost_if_it_is_missing(tables: Tables) -> None:
    sent = tables.send([*(message(seq) for seq in range(MEMORY + 1)), message(0)])
    tables.store(sent[:-1])

    assert tables.verify().lost == 1


def test_a_missing_dead_letter_is_lost(tables: Tables, rows: list[LedgerRow]) -> None:
    garbage = next(row for row in rows if row.kind == "garbage")
    tables.admin.execute("DELETE FROM dead_letter " + at(garbage))

    found = tables.verify()

    assert_only(found, lost=1)
    assert found.examples == (f"lost {place(garbage)} {garbage.machine_id}",)


def test_dead_letters_of_another_group_do_not_count(tables: Tables, rows: list[LedgerRow]) -> None:
    tables.admin.execute("UPDATE dead_letter SET consumer_group = 'other'")

    assert_only(tables.verify(), lost=sum(row.kind == "garbage" for row in rows))


def test_garbage_that_was_accepted_is_unexpected(tables: Tables, rows: list[LedgerRow]) -> None:
    tables.store_event(next(row for row in rows if row.kind == "garbage"))

    assert_only(tables.verify(), unexpected=1)


def test_a_sound_message_that_became_a_dead_letter_is_refused_and_not_lost(tables: Tables) -> None:
    sent = tables.send([message(0), message(1)])
    tables.store(sent[:1])
    tables.store_letter(sent[1])

    assert_only(tables.verify(), refused=1)


def test_an_array_that_was_refused_as_a_whole_counts_with_all_its_messages(tables: Tables) -> None:
    array = message(0)._replace(messages=tuple(message(seq).messages[0] for seq in range(3)))
    sent = tables.send([array, message(9)])
    tables.store(sent[3:])
    tables.store_letter(sent[0], body=b"[{}, {}, {}]")

    assert_only(tables.verify(), refused=3)


def test_of_an_array_with_one_refused_message_the_others_may_not_be_missing(tables: Tables) -> None:
    array = message(0)._replace(messages=tuple(message(seq).messages[0] for seq in range(3)))
    sent = tables.send([array])
    tables.store(sent[1:2])
    tables.store_letter(sent[0], body=b"[1]")

    assert_only(tables.verify(), refused=1, lost=1)


@pytest.mark.parametrize(
    "other",
    [
        {"source_offset": 10**6},
        {"source_index": 9},
        {"source_partition": 7},
        {"machine_id": "press-99999"},
        {"event_time": dt.datetime(2031, 1, 1, tzinfo=dt.UTC)},
    ],
)
def test_a_row_that_is_not_in_the_ledger_is_unexpected(
    tables: Tables, rows: list[LedgerRow], other: dict[str, object]
) -> None:
    tables.store_event(sound(rows), **other)

    found = tables.verify()

    assert_only(found, unexpected=1)
    assert [text.partition(" ")[0] for text in found.examples] == ["unexpected"]


@pytest.mark.parametrize("other", [{"source_topic": "another.topic"}, {"event_type": "Temperature Anomaly"}])
def test_rows_of_other_topics_and_derived_events_are_not_judged(
    tables: Tables, rows: list[LedgerRow], other: dict[str, object]
) -> None:
    tables.store_event(sound(rows), **other)

    assert_only(tables.verify())


def test_every_fault_is_counted_for_its_machine_and_the_worst_come_first(tables: Tables, rows: list[LedgerRow]) -> None:
    lost = sound(rows)
    twice = next(row for row in accepted(rows) if row.machine_id != lost.machine_id)
    tables.admin.execute("DELETE FROM event " + at(lost))
    tables.store_event(twice)

    found = tables.verify()

    worst, second, *others = found.machines
    assert (worst.machine_id, worst.lost, worst.windows_wrong) == (lost.machine_id, 1, 5)
    assert (second.machine_id, second.doubled, second.defects) == (twice.machine_id, 1, 1)
    assert not any(each.defects for each in others)
    for name in ("sent", "stored", "dead_letters", "device_duplicates", "windows", "out_of_order", "sequence_missing"):
        assert sum(getattr(each, name) for each in found.machines) == getattr(found, name)


def test_bounds_leave_out_what_the_ledger_has_outside_of_them(tables: Tables, rows: list[LedgerRow]) -> None:
    lost = sound(rows)
    tables.admin.execute("DELETE FROM event " + at(lost))
    times = sorted({row.event_time_ms for row in rows})
    other = next(row.machine_id for row in rows if row.machine_id != lost.machine_id)
    moment = dt.datetime.fromtimestamp(lost.event_time_ms / 1000, dt.UTC)
    just_after = moment + dt.timedelta(milliseconds=1)

    own = tables.verify(bounds=Bounds(machines=(lost.machine_id,)))
    assert (own.lost, own.sent) == (1, sum(row.machine_id == lost.machine_id for row in rows))
    assert_only(tables.verify(bounds=Bounds(machines=(other,))))
    assert_only(tables.verify(bounds=Bounds(since=just_after)))
    until = tables.verify(bounds=Bounds(until=moment))
    assert (until.lost, until.sent) == (0, sum(row.event_time_ms < lost.event_time_ms for row in rows))
    exact = tables.verify(bounds=Bounds(since=moment, until=just_after))
    assert (exact.lost, exact.sent) == (1, sum(row.event_time_ms == lost.event_time_ms for row in rows))
    assert times[0] < lost.event_time_ms < times[-1]

"""Tables judged without a ledger: sound ones hold, and each fault is found where it was planted and nowhere else. R43."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import defaultdict
from dataclasses import replace

import pytest

from pipeline.core.errors import SettingsError
from pipeline.verifying import blocks, run
from pipeline.verifying.report import DEFECTS
from pipeline.verifying.verify import Bounds, Verification
from simulator.ledger import LedgerRow
from simulator.plant import Plant
from tests.verify.folding import alone, fold_and_store, fold_plant
from tests.verify.tables import GROUP, PLANT, TOPIC, Tables, accepted, at, place, sound

# Devices that send nothing twice: then every offset without an event is one too many
TIDY = replace(PLANT, duplicate_share=0.0, reboot_share=0.01)
BEHAVED = replace(TIDY, garbage_share=0.0, late_share=0.0, offline_share=0.0, lab_share=0.0)
COLUMNS = (
    "event_id, event_type, entity_type, entity_id, machine_id, factory_id, event_time, ingest_time, source_topic,"
    " source_partition, source_offset, source_index, body"
)


@pytest.fixture
def folded(tables: Tables) -> list[LedgerRow]:
    """The ledger of a plant that went through fold and sink."""
    return fold_plant(tables, TIDY)


def defects(found: Verification) -> dict[str, int]:
    return {name: getattr(found, name) for name in DEFECTS if getattr(found, name)}


def copied(row: LedgerRow, **other: str) -> str:
    """Return the statement that stores a row of event once more, with other values."""
    names = COLUMNS.split(", ")
    assert set(other) <= {*names, "stored_time"}
    values = [other.get(name, name) for name in names]
    more = [name for name in other if name not in names]
    return (
        f"INSERT INTO event ({', '.join([*names, *more])}) SELECT {', '.join([*values, *(other[m] for m in more)])}"
        f" FROM event {at(row)} AND event_type = 'Telemetry Ingest'"
    )


def test_what_fold_and_sink_stored_holds_and_every_figure_is_the_plants(
    tables: Tables, folded: list[LedgerRow]
) -> None:
    found = alone(tables)

    assert defects(found) == {}
    assert found.holds
    kept = accepted(folded)
    assert found.stored == len(kept) > 500
    assert found.windows == tables.admin.execute("SELECT count(*) FROM reading_window").fetchone()[0] > 100
    assert found.late == tables.admin.execute("SELECT sum(late) FROM machine_state").fetchone()[0] > 0
    assert found.out_of_order == went_back(kept) > 0
    assert (found.sequence_gaps, found.sequence_missing) == missing(kept)
    assert found.sequence_gaps > 0
    assert [getattr(found, name) for name in ("sent", "lost", "unexpected", "dead_letters", "refused")] == [None] * 5


def test_nothing_depends_on_how_much_is_read_at_once(
    tables: Tables, folded: list[LedgerRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folded
    whole = alone(tables)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 5_000)
    monkeypatch.setattr(run, "_BUCKET_BYTES", 20_000)

    assert alone(tables) == whole


def went_back(rows: list[LedgerRow]) -> int:
    """Count messages before which the machine had sent a later one."""
    latest: dict[str, int] = defaultdict(int)
    count = 0
    for row in sorted(rows, key=lambda r: (r.offset, r.index)):
        count += row.event_time_ms < latest[row.machine_id]
        latest[row.machine_id] = max(latest[row.machine_id], row.event_time_ms)
    return count


def missing(rows: list[LedgerRow]) -> tuple[int, int]:
    """Return gaps, and numbers missing in them, of devices that restart at 0."""
    runs: dict[str, list[list[int]]] = defaultdict(lambda: [[]])
    for row in sorted(rows, key=lambda r: r.event_time_ms):
        if row.seq is not None:
            run = runs[row.machine_id][-1]
            if run and row.seq < run[-1]:
                runs[row.machine_id].append(run := [])
            run.append(row.seq)
    steps = [b - a - 1 for some in runs.values() for run in some for a, b in itertools.pairwise(run)]
    return sum(step > 0 for step in steps), sum(steps)


def test_devices_that_restart_at_0_leave_no_gap(tables: Tables) -> None:
    sent = fold_plant(tables, BEHAVED)
    restarts = sum(row.seq == 0 for row in sent) - BEHAVED.machines

    found = alone(tables)

    assert restarts > 0
    assert (found.sequence_gaps, found.out_of_order, found.late) == (0, went_back(sent), 0)


def test_a_missing_event_is_an_offset_unaccounted_for_and_a_gap_of_its_machine(tables: Tables) -> None:
    lost = sound(fold_plant(tables, BEHAVED))
    tables.admin.execute(f"DELETE FROM event {at(lost)}")

    found = alone(tables)

    assert defects(found) == {"unaccounted": 1, "windows_wrong": 5}
    assert f"unaccounted {TOPIC}:0:{lost.offset}" in found.examples
    assert found.gaps == (f"gap {lost.machine_id} seq {lost.seq} to {lost.seq}",)
    assert {each.machine_id for each in found.machines if each.windows_wrong} == {lost.machine_id}


def test_what_a_dead_letter_or_a_gap_of_the_log_explains_is_accounted_for(tables: Tables) -> None:
    first, second = fold_plant(tables, BEHAVED)[10:12]
    for row in (first, second):
        tables.admin.execute(f"DELETE FROM event {at(row)}")
    tables.admin.execute(
        "INSERT INTO source_gap (cluster, consumer_group, topic, partition, from_offset, to_offset, reason)"
        " VALUES ('local', %s, %s, 0, %s, %s, 'log_start_moved')",
        [GROUP, TOPIC, first.offset, first.offset + 1],
    )
    tables.store_letter(second)

    assert alone(tables).unaccounted == 0


def test_an_event_stored_twice_is_doubled(tables: Tables, folded: list[LedgerRow]) -> None:
    twice = sound(folded)
    tables.admin.execute(copied(twice))

    found = alone(tables)

    assert defects(found) == {"doubled": 1}
    assert found.examples == (f"doubled {place(twice)} {twice.machine_id}",)
    assert [each.machine_id for each in found.machines if each.doubled] == [twice.machine_id]


def test_a_devices_duplicate_that_was_stored_is_doubled(tables: Tables) -> None:
    sent = fold_plant(tables, PLANT)
    assert alone(tables).holds
    original = sound(sent)
    free = next(row for row in sent if row.kind == "duplicate" and row.index == 0)
    tables.admin.execute(copied(original, source_offset=str(free.offset)))

    found = alone(tables)

    assert found.doubled == 1
    assert any(text == f"doubled {place(max(original, free, key=lambda r: r.offset))} {original.machine_id}"
               for text in found.examples)  # fmt: skip
    assert {each.machine_id for each in found.machines if each.defects} == {original.machine_id}


def test_two_messages_at_one_place_are_one_too_many(tables: Tables, folded: list[LedgerRow]) -> None:
    first = sound(folded)
    other = next(row for row in folded if row.machine_id != first.machine_id and row.kind == "sent")
    tables.admin.execute(copied(other, source_offset=str(first.offset), source_index="0"))

    assert alone(tables).doubled >= 1
    assert any(place(first) in text for text in alone(tables).examples)


@pytest.mark.parametrize(
    "change",
    [
        "body = '{}'",
        "body = '[]'",
        "machine_id = 'press-99999'",
        "event_time = event_time + interval '1 second'",
        "event_time = 'infinity'",
        'body = (replace(body::text, \'"temperature":\', \'"temperature":1e150,"t":\'))::json',
    ],
)
def test_an_event_whose_body_says_something_else_is_unreadable(
    tables: Tables, folded: list[LedgerRow], change: str
) -> None:
    spoilt = sound(folded)
    tables.admin.execute(f"UPDATE event SET {change} {at(spoilt)} AND event_type = 'Telemetry Ingest'")

    found = alone(tables)

    assert found.unreadable == 1
    assert not found.holds
    assert found.examples[0].startswith(f"unreadable {place(spoilt)} ")


def test_an_event_beyond_the_mark_is_found_and_counts_into_no_window(tables: Tables, folded: list[LedgerRow]) -> None:
    (end,) = tables.admin.execute("SELECT effects_next FROM source_progress").fetchone()
    tables.admin.execute(copied(sound(folded), source_offset=str(end)))

    found = alone(tables)

    assert (found.above_marks, found.windows_wrong, found.states_wrong) == (1, 0, 0)
    assert f"above the marks {TOPIC}:0:{end}:0 {sound(folded).machine_id}" in found.examples


def test_events_that_are_stored_and_not_merged_yet_are_no_fault(tables: Tables) -> None:
    sent = fold_plant(tables, BEHAVED)
    last = max(sent, key=lambda row: (row.offset, row.index))
    moved = f"(replace(body::text, '\"seq\":{last.seq}', '\"seq\":{last.seq + 1}'))::json"
    tables.admin.execute(copied(last, source_offset=f"{last.offset + 1}", body=moved))
    tables.admin.execute("UPDATE source_progress SET effects_next = effects_next + 1")

    found = alone(tables)

    assert defects(found) == {}
    assert found.stored == len(sent) + 1


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ("UPDATE reading_window SET count = count + 1", 1),
        ("UPDATE reading_window SET last = last + 0.01", 1),
        ("UPDATE reading_window SET min = 'NaN'", 1),
        ("UPDATE reading_window SET mean = 'NaN'", 1),
        ("UPDATE reading_window SET mean = 1e308", 1),
        ("UPDATE reading_window SET m2 = 'Infinity'", 1),
        ("UPDATE reading_window SET mean = mean * (1 + 1e-8)", 1),
        ("UPDATE reading_window SET mean = mean * (1 + 1e-11)", 0),
        ("DELETE FROM reading_window", 1),
        ("UPDATE reading_window SET window_start = window_start + interval '1 second'", 2),
        ("UPDATE reading_window SET machine_id = 'nobody'", 2),
    ],
)
def test_a_window_that_is_not_what_events_say_is_found(
    tables: Tables, folded: list[LedgerRow], change: str, wrong: int
) -> None:
    machine_id = sound(folded).machine_id
    (start,) = tables.admin.execute(
        "SELECT window_start FROM reading_window WHERE machine_id = %s AND sensor = 'pressure' AND count > 1 LIMIT 1",
        [machine_id],
    ).fetchone()
    tables.admin.execute(
        f"{change} WHERE machine_id = %s AND sensor = 'pressure' AND window_start = %s", [machine_id, start]
    )

    found = alone(tables)

    assert defects(found) == ({"windows_wrong": wrong} if wrong else {})
    assert (f"wrong window {machine_id} pressure {start:%Y-%m-%dT%H:%M:%SZ}" in found.examples) == bool(wrong)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE machine_state SET messages = messages - 1",
        "UPDATE machine_state SET messages = messages + 1",
        "UPDATE machine_state SET last_seen = last_seen - interval '1 ms'",
        "UPDATE machine_state SET last_seen = last_seen + interval '1 ms'",
        "DELETE FROM machine_state",
    ],
)
def test_a_state_that_is_not_what_events_say_is_found(tables: Tables, folded: list[LedgerRow], change: str) -> None:
    machine_id = sound(folded).machine_id
    tables.admin.execute(f"{change} WHERE machine_id = %s", [machine_id])

    found = alone(tables)

    assert defects(found) == {"states_wrong": 1}
    assert found.examples == (f"wrong state {machine_id}",)


def test_where_days_are_gone_a_state_may_count_more_but_not_less(tables: Tables) -> None:
    early = sorted(fold_plant(tables, BEHAVED), key=lambda row: row.offset)[:50]
    tables.admin.execute("DELETE FROM event WHERE source_offset <= %s", [early[-1].offset])
    tables.admin.execute("UPDATE machine_state SET messages = messages + 100")

    assert alone(tables).states_wrong == 0

    tables.admin.execute("UPDATE machine_state SET messages = 0 WHERE machine_id = %s", [early[0].machine_id])
    assert alone(tables).states_wrong == 1


def test_a_superseded_event_counts_no_more_and_what_replaces_it_has_no_latency(
    tables: Tables, folded: list[LedgerRow]
) -> None:
    old, before = sound(folded), alone(tables).latency_ms
    with tables.admin.transaction():
        tables.admin.execute(
            "INSERT INTO promotion (replay, cluster, consumer_group, tables, promoted_by)"
            " VALUES ('r', 'local', %s, '{event}', 'p')",
            [GROUP],
        )
        tables.admin.execute(
            f"INSERT INTO superseded_event SELECT event_id, event_time, '-infinity', now(), number"
            f" FROM event, promotion {at(old)} AND event_type = 'Telemetry Ingest'"
        )
        tables.admin.execute(copied(old, stored_time="now()", ingest_time="'2000-01-01'"))

    found = alone(tables)

    assert defects(found) == {}
    assert found.stored == len(accepted(folded))
    assert found.latency_ms == before


def test_another_log_is_not_mixed_with_the_one_before(tables: Tables, folded: list[LedgerRow]) -> None:
    tables.admin.execute("UPDATE source_progress SET log_since = now() + interval '1 day', windows_next = 0")

    found = alone(tables)

    assert folded
    assert defects(found) == {}


def test_bounds_leave_everything_else_out(tables: Tables, folded: list[LedgerRow]) -> None:
    spoilt = sound(folded)
    tables.admin.execute("UPDATE reading_window SET count = count + 1 WHERE machine_id = %s", [spoilt.machine_id])
    (others,) = tables.admin.execute("SELECT array_agg(DISTINCT factory_id) FROM event").fetchone()
    other = next(row for row in folded if row.machine_id != spoilt.machine_id and row.kind == "sent")
    first = tables.admin.execute("SELECT min(window_start) FROM reading_window").fetchone()[0]

    assert not alone(tables, bounds=Bounds(machines=(spoilt.machine_id,))).holds
    assert alone(tables, bounds=Bounds(machines=(other.machine_id,))).holds
    by_factory = [alone(tables, bounds=Bounds(factory=each)) for each in others]
    assert [found.holds for found in by_factory] == [each != spoilt.factory_id for each in others]
    assert sum(found.stored for found in by_factory) == len(accepted(folded))
    narrow = alone(tables, bounds=Bounds(since=first + dt.timedelta(seconds=1), until=first + dt.timedelta(seconds=45)))
    assert (narrow.windows, narrow.windows_wrong) == (0, 0)
    assert (narrow.late, narrow.unaccounted, narrow.states_wrong) == (None, None, None)


def test_parts_of_the_range_add_up_to_the_whole(tables: Tables, folded: list[LedgerRow]) -> None:
    begin, end = tables.admin.execute("SELECT min(window_start), max(window_start) FROM reading_window").fetchone()
    middle = begin + dt.timedelta(minutes=(end - begin).total_seconds() // 120)

    parts = [alone(tables, bounds=Bounds(until=middle)), alone(tables, bounds=Bounds(since=middle))]

    assert all(part.holds for part in parts)
    assert sum(part.stored for part in parts) == len(accepted(folded))
    assert sum(part.windows for part in parts) == alone(tables).windows


WHOLE_MINUTES = """
CREATE TEMPORARY TABLE minute AS SELECT * FROM dashboard.reading_window WHERE machine_id = %s;
DELETE FROM reading_window WHERE machine_id = %s;
INSERT INTO reading_window (machine_id, sensor, window_start, factory_id, count, mean, m2, min, max, last, last_time,
                            last_source, last_offset, last_index, late_count, source_id, length_s)
SELECT machine_id, sensor, window_start, factory_id, count, mean, stddev * stddev * (count - 1), min, max, last, last_time,
       0, 0, 0, late_count, (SELECT min(source_id) FROM source_progress), 60
FROM minute
"""


@pytest.mark.parametrize(("change", "wrong"), [("mean = mean", 0), ("mean = mean + 1", 1), ("count = count + 1", 1)])
def test_windows_that_a_version_before_kept_as_whole_minutes_are_judged_as_such(
    tables: Tables, folded: list[LedgerRow], change: str, wrong: int
) -> None:
    machine_id = sound(folded).machine_id
    before = alone(tables)
    for statement in WHOLE_MINUTES.split(";"):
        tables.admin.execute(statement, [machine_id] if "%s" in statement else None)
    one = "SELECT ctid FROM reading_window WHERE machine_id = %s LIMIT 1"
    tables.admin.execute(f"UPDATE reading_window SET {change} WHERE ctid = ({one})", [machine_id])

    found = alone(tables)

    assert before.windows_wrong == 0
    assert found.windows_wrong == wrong


def test_nothing_within_the_bounds_is_one_line(tables: Tables, folded: list[LedgerRow]) -> None:
    assert folded
    with pytest.raises(SettingsError, match="nothing is stored within"):
        alone(tables, bounds=Bounds(machines=("nobody",)))
    at_once = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    with pytest.raises(SettingsError, match="the range is empty"):
        Bounds(since=at_once, until=at_once)


def test_empty_tables_hold(tables: Tables) -> None:
    found = alone(tables)

    assert (found.holds, found.stored, found.latency_ms, found.machines) == (True, 0, None, ())


def test_values_of_every_size_are_added_up_as_the_fold_does(tables: Tables) -> None:
    records = list(Plant(replace(BEHAVED, messages=120)))
    sizes = ("1e140", "-1e140", "1e-300", "5e-324", "0", "-0.0", "1e16")
    for n, record in enumerate(records):
        spoilt = record.body.replace(b'"readings":{', f'"readings":{{"odd":{sizes[n % len(sizes)]},'.encode())
        records[n] = record._replace(body=spoilt)
    fold_and_store(tables.dsn, records)

    assert defects(alone(tables)) == {}

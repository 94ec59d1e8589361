"""Devices that fall silent, on the real database (R17): the anomaly, its event, who is silent now, and a replay of it."""

from __future__ import annotations

import datetime as dt

from pipeline.core.controls import FIRST_INDEX
from pipeline.replaying import stretches
from pipeline.replaying.differences import differences
from pipeline.replaying.stretches import Stretch
from pipeline.store.connect import connect
from tests.core.sinks import SOURCE, records_of
from tests.core.test_silence import BASE_MS, RULES, going_on, message
from tests.store.database_sink import DatabaseSink
from tests.store.owners import fold_as_owner, replayed
from tests.store.quality import entity

# m is silent twice, k once and still: the watermark is 10 s behind
SENT = [
    message("m", 0),
    message("k", 0),
    *going_on(30, 60, 65, 70),
    message("m", 71),
    *going_on(100, 130, 140),
]


def at(second: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(BASE_MS / 1000 + second, dt.UTC)


def test_each_silence_is_one_anomaly_with_its_event_and_a_replay_in_other_batches_has_the_same(database, admin) -> None:
    records = records_of(SENT)
    live = DatabaseSink(database.dsn)
    fold_as_owner(live, records, [2, 3, 7], RULES)

    anomalies = admin.execute(
        "SELECT machine_id, a.event_time, kind, sensor, value, expected, detector, e.event_type, e.body ->> 'kind'"
        " FROM anomaly AS a JOIN event AS e USING (event_id, machine_id, source_offset) ORDER BY source_offset, machine_id"
    ).fetchall()
    said = ("device_silent", "")
    told = ("silence", "Silent Device", "device_silent")
    assert anomalies == [
        ("k", at(60), *said, 50.0, 45.0, *told),
        ("m", at(60), *said, 50.0, 45.0, *told),
        ("m", at(130), *said, 49.0, 45.0, *told),
    ]

    rows = replayed(database.dsn, admin, live, records, [1, 5, 8], RULES)
    live.close()
    assert (rows["anomaly"], rows["machine_state"]) == (3, 3)


def test_a_tick_is_noted_where_it_was_and_takes_effect_there_in_every_later_fold(database, admin) -> None:
    """Nobody sends any more, twice; the second time the replay was already there."""
    live, records = DatabaseSink(database.dsn), records_of(SENT)
    ticks = {2: BASE_MS + 60_000, len(SENT): BASE_MS + 200_000}
    fold_as_owner(live, records, [2, 7], RULES, ticks=ticks)

    noted = admin.execute(
        'SELECT c.kind, c.topic, c.partition, c.body, e."offset", e.ordinal, p.controls_next, p.windows_controls'
        " FROM control_record AS c JOIN control_effect AS e ON e.control_id = c.id CROSS JOIN source_progress AS p"
        " ORDER BY ordinal"
    ).fetchall()
    assert noted == [
        ("tick", *SOURCE, {"at_ms": at_ms}, at, number, 2, 2) for number, (at, at_ms) in enumerate(ticks.items())
    ]
    silent = admin.execute("SELECT machine_id, source_offset, source_index FROM anomaly ORDER BY 2, 1").fetchall()
    ticked = FIRST_INDEX, FIRST_INDEX + 1
    assert silent == [("k", 1, ticked[0]), ("m", 1, ticked[0]), ("m", 8, 0), ("n", 9, ticked[1])]
    assert replayed(database.dsn, admin, live, records, [1, 5, 8], RULES)["anomaly"] == 4
    live.close()


def test_a_tick_behind_what_a_replay_has_read_is_made_up_for(database, admin) -> None:
    live, records = DatabaseSink(database.dsn), records_of(SENT)
    fold_as_owner(live, records, [4], RULES)
    replay = stretches.create(admin, "r", live.progress, {SOURCE: Stretch(0, len(records))}, {"cold": False})
    shadow = DatabaseSink(database.dsn, replay.schema)
    fold_as_owner(shadow, records, [7], RULES)
    assert stretches.progress_of(admin, replay)[0].is_done

    fold_as_owner(live, records, [], RULES, ticks={len(SENT): BASE_MS + 200_000})
    stretches.extend(admin, replay, live.progress, {SOURCE: Stretch(0, len(records))})
    assert not stretches.progress_of(admin, replay)[0].is_done
    fold_as_owner(shadow, records, [], RULES)

    assert stretches.progress_of(admin, replay)[0].is_done
    found, uneven = differences(admin, replay)
    assert ([each for each in found if not each.holds], uneven) == ([], 0)
    assert {each.table: each.shadow for each in found if not each.column}["anomaly"] == 4
    live.close()
    shadow.close()


def test_the_view_has_who_is_silent_now_and_is_not_disabled(database, admin) -> None:
    sink = DatabaseSink(database.dsn)
    fold_as_owner(sink, records_of(SENT), [4], RULES)
    sink.close()
    entity(admin, "machine", "k", status="disabled")

    with connect(database.dashboard_dsn, autocommit=True) as dashboard:
        found = dashboard.execute(
            "SELECT machine_id, factory_id, last_seen, silent_since FROM dashboard.silent_device ORDER BY 1"
        ).fetchall()
        silent = dashboard.execute("SELECT machine_id FROM dashboard.machine_state WHERE silent ORDER BY 1").fetchall()

    assert found == [("m", "aurora", at(71), at(130))]
    assert silent == [("k",), ("m",)]

"""Devices that fall silent, on the real database (R17): the anomaly, its event, who is silent now, and a replay of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import psycopg
import pytest

from pipeline.store.connect import connect
from tests.core.sinks import record
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


@pytest.fixture
def admin(database) -> Iterator[psycopg.Connection]:
    with connect(database.admin_dsn, autocommit=True) as connection:
        yield connection


def at(second: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(BASE_MS / 1000 + second, dt.UTC)


def test_each_silence_is_one_anomaly_with_its_event_and_a_replay_in_other_batches_has_the_same(database, admin) -> None:
    records = [record(n, each) for n, each in enumerate(SENT)]
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


def test_the_view_has_who_is_silent_now_and_is_not_disabled(database, admin) -> None:
    sink = DatabaseSink(database.dsn)
    fold_as_owner(sink, [record(n, each) for n, each in enumerate(SENT)], [4], RULES)
    sink.close()
    entity(admin, "machine", "k", status="disabled")

    with connect(database.dashboard_dsn, autocommit=True) as dashboard:
        found = dashboard.execute(
            "SELECT machine_id, factory_id, last_seen, silent_since FROM dashboard.silent_device ORDER BY 1"
        ).fetchall()
        silent = dashboard.execute("SELECT machine_id FROM dashboard.machine_state WHERE silent ORDER BY 1").fetchall()

    assert found == [("m", "aurora", at(71), at(130))]
    assert silent == [("k",), ("m",)]

"""Verifying a ledger: windows, anomalies, latency, and the whole against the real fold and sink."""

from __future__ import annotations

import datetime as dt

import pytest

from pipeline.verifying.verify import ledger_ends, settled
from simulator.ledger import LedgerRow
from simulator.plant import Plant
from tests.verify.folding import fold_and_store
from tests.verify.tables import GROUP, PLANT, Tables, accepted, assert_only, message, sound

LATENCY_MS = 250


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE reading_window SET count = count + 1",
        "UPDATE reading_window SET min = min - 0.01",
        "UPDATE reading_window SET max = max + 0.01",
        "UPDATE reading_window SET mean = mean * (1 + 1e-8)",
        "UPDATE reading_window SET m2 = m2 + 1",
        "DELETE FROM reading_window",
    ],
)
def test_a_stale_window_is_found(tables: Tables, rows: list[LedgerRow], change: str) -> None:
    machine_id = sound(rows).machine_id
    before = tables.admin.execute(
        "SELECT window_start FROM reading_window WHERE machine_id = %s AND sensor = 'pressure' AND count > 1 LIMIT 1",
        [machine_id],
    ).fetchone()
    tables.admin.execute(
        change + " WHERE machine_id = %s AND sensor = 'pressure' AND window_start = %s", [machine_id, before[0]]
    )

    found = tables.verify()

    assert_only(found, windows_wrong=1)
    assert found.examples == (f"wrong window {machine_id} pressure {before[0]:%Y-%m-%dT%H:%M:%SZ}",)


def test_means_may_differ_by_rounding(tables: Tables, rows: list[LedgerRow]) -> None:
    tables.admin.execute("UPDATE reading_window SET mean = mean * (1 + 1e-11), m2 = m2 * (1 - 1e-11)")

    assert_only(tables.verify())
    assert rows


def test_a_window_too_many_is_found_for_machines_and_for_partitions_of_the_ledger(tables: Tables) -> None:
    tables.store(tables.send([message(0)]))
    tables.move_marks(0, 1, 1)
    tables.store_window("press-00001", "humidity", 1, [1.0])
    tables.store_window("another-machine", "humidity", 1, [1.0])
    assert tables.verify().windows_wrong == 1

    tables.admin.execute("UPDATE reading_window SET source_id = 77")
    assert tables.verify().windows_wrong == 2


def test_anomalies_that_were_not_flagged_lower_the_recall_and_nothing_else(
    tables: Tables, rows: list[LedgerRow]
) -> None:
    truth = tables.verify().anomalies_true
    tables.admin.execute("DELETE FROM anomaly WHERE kind = 'dip'")
    spikes = sum(row.anomalies.count("spike") for row in accepted(rows))
    tables.store_anomaly(sound(rows), "noise", "spike")

    found = tables.verify()

    assert_only(found)
    assert (found.anomalies_true, found.anomalies_found, found.anomalies) == (truth, spikes, spikes + 1)
    assert 0 < spikes < truth


def test_latency_counts_from_the_brokers_time_to_the_commit(tables: Tables) -> None:
    sent = tables.send([message(0), message(1)])
    with tables.admin.transaction():
        now = tables.admin.execute("SELECT now()").fetchone()[0]
        for row in sent:
            tables.store_event(row, ingest_time=now - dt.timedelta(milliseconds=LATENCY_MS))
        tables.admin.execute("SELECT pg_sleep(0.1)")

    found = tables.verify()

    assert list(found.latency_ms) == ["p50", "p95", "p99", "max"]
    tracked = tables.admin.execute("SHOW track_commit_timestamp").fetchone() == ("on",)
    if tracked:
        assert LATENCY_MS + 100 <= found.latency_ms["p50"] <= found.latency_ms["max"]
        assert found.notes == ()
    else:
        assert found.latency_ms["max"] == pytest.approx(LATENCY_MS, abs=0.01)
        assert "track_commit_timestamp" in found.notes[0]


def test_of_nothing_stored_there_is_no_latency(tables: Tables) -> None:
    tables.send([message(0)])

    found = tables.verify()
    assert_only(found, lost=1)
    assert found.latency_ms is None


def test_verifying_leaves_nothing_behind_and_can_be_repeated(tables: Tables, rows: list[LedgerRow]) -> None:
    assert tables.verify() == tables.verify()
    left = tables.admin.execute("SELECT relname FROM pg_class WHERE relname IN ('ledger', 'verdict', 'stored')")
    assert left.fetchall() == []
    assert rows


def test_a_ledger_that_is_being_written_counts_up_to_its_last_complete_row(tables: Tables) -> None:
    tables.store(tables.send([message(0)]))
    with tables.ledger.open("ab") as file:
        file.write(b"telemetry.machine,0,1,0,sent,,press")

    assert_only(tables.verify())
    assert tables.verify().sent == 1
    assert list(ledger_ends(tables.ledger).values()) == [0]


def test_what_the_fold_and_the_sink_make_of_a_misbehaved_plant_holds(tables: Tables) -> None:
    records = list(Plant(PLANT))
    tables.send(records, partitions=1)
    fold_and_store(tables.dsn, records)

    found = tables.verify()

    assert_only(found)
    assert found.stored > 500
    assert found.windows > 100
    assert settled(ledger_ends(tables.ledger), tables.dsn, GROUP)

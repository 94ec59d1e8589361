"""The benchmarks run, count what they claim to count, and notice who drops something. R81, R59."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from benchmarks import additions, detectors, job, latency, outcome, prognosis, soak, verify, windows
from benchmarks.contestants import BARE, CONTESTANTS, PIPELINE, Contestant
from benchmarks.load import SENSORS, Job
from benchmarks.measure import Run, measure
from benchmarks.services import Services
from pipeline.store.connect import connect
from tests.absent import absent

JOB = Job(machines=50, messages=3_000)
PEERS = [each for each in CONTESTANTS if not each.ours]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, broker_address: str, postgres_dsn: str) -> Iterator[Services]:
    yield Services(tmp_path_factory.mktemp("bench"), broker_address, postgres_dsn, os.getpid(), os.getpid())
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")


@pytest.fixture(scope="module")
def filled(services: Services) -> str:
    """A topic with the job's messages."""
    topic = services.topic()
    JOB.fill(services.address, topic)
    return topic


@pytest.fixture(scope="module")
def ours(services: Services, filled: str) -> Run:
    """The pipeline's run."""
    return measure(PIPELINE, 1, services, filled, JOB)


def test_a_run_of_the_pipeline_counts_every_message_and_every_reading_once(ours: Run) -> None:
    assert (ours.problem, ours.messages) == ("", JOB.records)
    assert ours.resident_mb > 0
    assert ours.anomalies > 0


def test_what_is_spent_is_read_when_the_windows_are_stored_too(
    services: Services, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    answers = iter([5, 0, 0])
    monkeypatch.setattr(outcome, "readings_short", lambda *_: seen.append("windows") or next(answers))
    monkeypatch.setattr("benchmarks.measure.server_cpu_s", lambda _: seen.append("spent") or 0.0)

    measure(replace(BARE, windows=True), 1, services, filled, JOB)

    # Of two servers each time; whether readings are missing is asked once more at the end
    assert seen == ["spent", "spent", "windows", "windows", "spent", "spent", "windows"]


def test_ratios_and_costs_come_from_complete_runs_only(services: Services, filled: str, ours: Run) -> None:
    bare = measure(BARE, 1, services, filled, JOB)
    assert (bare.problem, bare.messages) == ("", JOB.records)

    # So few messages may be one transaction, which has no rate
    used = {"cpu_us": 1.0, "database_cpu_us": 1.0, "broker_cpu_us": 0.0}
    runs = [
        replace(ours, per_second=3.0, **used),
        replace(bare, per_second=4.0, **used | {"broker_cpu_us": 1.0}),
        replace(bare, what="x", per_second=4.0, problem="lost some"),
    ]

    assert job.ratios(runs) == {"bare fetch and copy, 1 process": (0.75, 1.5)}
    assert job.costs(runs)["GB stored per day at 10,000 messages/s"] > 0


@pytest.mark.parametrize("peer", PEERS, ids=[each.name for each in PEERS])
def test_a_peer_does_the_whole_job(peer: Contestant, services: Services, filled: str, ours: Run) -> None:
    if peer.missing:
        absent(f"{peer.name}: {peer.missing}")

    run = measure(peer, 1, services, filled, JOB)

    assert (run.problem, run.messages) == ("", JOB.records)
    if "faust" in peer.name:
        # River's variance begins otherwise, so that some flags near the threshold differ
        assert run.anomalies > 0
    else:
        assert run.anomalies == ours.anomalies


def test_readings_that_are_not_in_the_windows_are_noticed(services: Services) -> None:
    with services.database(ours=False) as dsn, connect(dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO reading_window VALUES ('m', 's', '2025-01-01', 7, 1, 1, 1)")

        assert outcome.readings_short(connection, JOB) == SENSORS * JOB.messages - 7


def test_latency_is_taken_from_what_was_appended_in_the_stretch(services: Services) -> None:
    figures = latency.run(services, machines=50, seconds=2, rates=(200,), warm_up_s=2)

    (stretch,) = figures["stretches"]
    assert 200 <= stretch.messages <= 600
    assert 0 < stretch.sent_rate <= stretch.messages / 2
    assert 0 < stretch.p50_ms <= stretch.p95_ms <= stretch.p99_ms <= stretch.max_ms


def test_verify_judges_what_the_part_stored_by_itself_and_by_its_ledger(services: Services) -> None:
    figures = verify.run(services, machines=50, messages=3_000)

    assert [(each["messages"], each["holds"]) for each in figures["runs"]] == [(3_000, True)] * 2
    assert all(each["resident_mb"] > 0 and each["cpu_s"] > 0 for each in figures["runs"])


def test_a_soak_watches_two_workers_and_finds_that_all_was_counted_once(services: Services) -> None:
    figures = soak.run(services, machines=50, seconds=4, rate=200, warm_up_s=2)

    assert figures["problems"] == []
    assert all(sample.lag >= 0 and min(sample.resident_mb) > 0 for sample in figures["samples"])
    assert len(figures["workers"]) == 2
    assert figures["figures"]["snapshot bytes per machine"] > 0
    (stretch,) = figures["stretches"]
    assert 0 < stretch.p99_ms <= stretch.max_ms


def test_all_detectors_are_compared_with_job_j_as_it_is(services: Services) -> None:
    size = {"messages": JOB.messages, "machines": JOB.machines, "rounds": 1, "counts": (1,)}
    figures = additions.run(services, detectors.ALL, detectors.LEAST, **size)

    plain, everything = figures["runs"]
    assert (plain["what"], everything["what"]) == ("pipeline", "all detectors")
    assert (plain["problem"], everything["problem"]) == ("", "")
    assert everything["state_bytes"] > plain["state_bytes"] > 0


def test_predictions_are_made_of_every_machine_whose_cycle_ended(services: Services, filled: str) -> None:
    run = measure(prognosis.REMAINING_LIFE, 1, services, filled, JOB)

    # A minute of messages each, then one an hour later: one operating cycle
    assert (run.problem, run.predictions) == ("", JOB.machines)


def test_windows_are_compared_with_one_minute_windows_alone(services: Services) -> None:
    figures = windows.run(services, messages=JOB.messages, machines=JOB.machines, rounds=1, only=(), counts=(1,))

    ours, minutes = figures["runs"]
    assert (ours["what"], minutes["what"]) == ("pipeline", "one-minute windows alone")
    assert [each["problem"] for each in (ours, minutes)] == ["", ""]
    assert min(ours["state_bytes"], minutes["state_bytes"]) > 0
    assert ours["anomalies"] == minutes["anomalies"]

"""R35, R50, R52, R62: whatever happens at the worst places, every record is stored once and the windows say the same."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any

import psycopg
import pytest

from pipeline.broker import topics
from pipeline.broker.security import BrokerSecurity
from pipeline.crash_points import CrashPoint
from tests.crash.scene import OF_THE_SCHEMA, ON_ALERTS, PARTITIONS, POISON, Case, Scene, alert_topic
from tests.forks import Forks
from tests.together import asked_for, together

AT_ONCE = 12
"""Cases that are played at the same time: most of their time they wait for a session to end."""

IN_A_THREAD = {
    CrashPoint.TOKEN_WRITTEN,
    CrashPoint.LOADING_SNAPSHOT,
    CrashPoint.REBUILDING_STATE,
    CrashPoint.MARKS_MOVED,
    CrashPoint.BEFORE_EVENTS,
    CrashPoint.AMID_COPY,
    CrashPoint.BEFORE_WINDOWS,
    CrashPoint.BEFORE_COMMIT,
    CrashPoint.AFTER_COMMIT,
    CrashPoint.BEFORE_SNAPSHOT,
    CrashPoint.SNAPSHOT_STORED,
    CrashPoint.BEFORE_CONTROL_RECORD,
    CrashPoint.CONTROL_RECORD_WRITTEN,
    CrashPoint.MESSAGES_PUBLISHED,
}
"""Points at which a thread can hang while the worker goes on; at the others it is the whole worker, and that is a freeze."""

CASES = [
    Case(point, kind)
    for point in CrashPoint
    if point not in OF_THE_SCHEMA
    for kind in ("kill", "error", "freeze", *(["hang"] if point in IN_A_THREAD else []))
]


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest,
    broker_address: str,
    commands: Forks,
    new_database: Callable[[], AbstractContextManager[Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[Case, Future[None]]]:
    """Every case that was asked for, being played."""
    cases = asked_for(request, "case")
    folder = tmp_path_factory.mktemp("crash")
    run = uuid.uuid4().hex[:8]
    names = {case: f"{case}-{run}" for case in cases}
    alerts = [alert_topic(names[case]) for case in cases if case.point in ON_ALERTS]
    topics.create_topics(broker_address, BrokerSecurity(), [*names.values(), *alerts], PARTITIONS)
    with new_database() as database:
        with psycopg.connect(database.admin_dsn) as admin:
            admin.execute(f"ALTER TABLE telemetry.event ADD CHECK (machine_id <> '{POISON}')")

        def play(case: Case) -> None:
            own = folder / str(case)
            own.mkdir()
            Scene(case, own, broker_address, database.dsn, names[case], commands).play()

        with together(request, "case", play, AT_ONCE) as playing:
            yield playing


@pytest.mark.parametrize("case", CASES, ids=str)
def test_whatever_happens_at_a_crash_point_every_record_is_stored_once(
    outcomes: dict[Case, Future[None]], case: Case
) -> None:
    outcomes[case].result()

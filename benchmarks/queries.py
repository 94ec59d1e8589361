"""What dashboards ask among very many events: how long it takes, warm and after a restart, and what the index costs."""

from __future__ import annotations

import math
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks import report
from benchmarks.history import DAY_BEGIN_S, END_MS, FACTORIES, ROUNDS, History, machine_id
from benchmarks.services import Services, server_cpu_s
from pipeline.store.connect import connect
from pipeline.store.embedded import EmbeddedPostgres
from pipeline.store.migrate import migrate
from pipeline.store.rows import EVENT

_SUBJECTS = 20
_TIMES = 10
_BYTES_PER_EVENT = 1000
"""Of disk: the row, its share of windows and of the write-ahead log, and room to spare."""
_LOGIN = "dashboard_bench"
_BLOCKS = 20
_COPY_ROUNDS = 3
_WAYS = {
    "without the index": ("bare_event", 0),
    "with it": ("found_event", 0),
    "into the table": ("event", 0),
    "into the table, two hours late": ("event", 2 * 3_600_000),
}
"""Where to, and how late, ms."""
_DAY = [DAY_BEGIN_S, DAY_BEGIN_S + 86_400]
_TIME = "{0} >= to_timestamp(%s) AND {0} < to_timestamp(%s) ORDER BY {0}"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one view, of one machine or factory after the other."""

    what: str
    query: str
    subjects: Sequence[list[object]]


@dataclass(frozen=True, slots=True)
class Answer:
    """How long a question took, ms, all rows fetched.

    Parameters
    ----------
    rows
        Of one answer.
    warm_p50, warm_p95
        Asked again, of some subjects in turn.
    first
        The first of all after a restart with nothing in memory, the system's neither; planning reads the catalogue then.
    cold_p50, cold_p95
        After such a restart, of a subject that was not asked for yet.
    plan
        What the plan consists of, from the top.
    """

    what: str
    rows: int
    warm_p50: float
    warm_p95: float
    first: float
    cold_p50: float
    cold_p95: float
    plan: str


def run(services: Services, *, machines: int, events: int) -> dict[str, Any]:
    """Fill a database of its own, ask, and store beside and without the index; return the figures."""
    if shutil.disk_usage(services.folder).free < events * _BYTES_PER_EVENT:
        raise SystemExit(
            f"{events:,} events need {events * _BYTES_PER_EVENT / 1e9:.0f} GB of disk: give fewer, --events"
        )
    server = EmbeddedPostgres(services.folder / "queries", settings={"max_wal_size": "4GB"})
    try:
        server.start()
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench")
            connection.execute(f"CREATE ROLE {_LOGIN} LOGIN PASSWORD '{_LOGIN}'")
        dsn = make_conninfo(server.dsn, dbname="bench")
        migrate(dsn)
        history = History(machines, events)
        filled = fill(dsn, history)
        answers = ask(server, dsn, questions(history, filled["machines with windows"]))
        inserts = insert(server, dsn, history)
    finally:
        server.remove()
    _show(filled, answers, inserts)
    return {"filled": filled, "answers": [asdict(each) for each in answers], "inserts": inserts}


def fill(dsn: str, history: History) -> dict[str, Any]:
    """Store everything that is asked for; return how much that was, and how fast events were stored."""
    with connect(dsn) as connection:
        connection.execute(f"GRANT pipeline_dashboard TO {_LOGIN}")
        per_second = history.store_events(connection)
        print(f"{history.events:,} events, {per_second:,.0f}/s", flush=True)
        with_windows = history.store_windows(connection)
        history.store_anomalies(connection)
        # As a worker does every minute, and autovacuum now and then
        connection.execute("SELECT summarize_event_partitions('2025-01-01Z')")
        connection.execute("ANALYZE event, reading_window, anomaly")
        connection.commit()
        sizes = connection.execute(
            "SELECT (SELECT sum(pg_table_size(relid)) FROM pg_partition_tree('event') WHERE isleaf)::float,"
            " (SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('event_machine') WHERE isleaf)::float,"
            " (SELECT reltuples FROM pg_class WHERE oid = 'reading_window'::regclass)::bigint,"
            " (SELECT count(*) FROM anomaly)"
        ).fetchone()
    assert sizes is not None
    names = ("event bytes", "index bytes", "windows", "anomalies")
    stored = history.transactions * ROUNDS * history.machines
    return {
        "events": stored,
        "events/s": per_second,
        "machines with windows": with_windows,
        **dict(zip(names, sizes, strict=True)),
    }


def questions(history: History, with_windows: int) -> list[Question]:
    """Return what is asked."""
    end_s = END_MS / 1000
    asked = [machine_id(i * 7919 % history.machines) for i in range(_SUBJECTS)]
    series = [machine_id(i * 7919 % with_windows) for i in range(_SUBJECTS)]
    return [
        Question(
            "one machine's last hour of events",
            f"SELECT * FROM dashboard.event WHERE machine_id = %s AND {_TIME.format('event_time')}",
            [[machine, end_s - 3600, end_s] for machine in asked],
        ),
        Question(
            "one day's windows of one sensor",
            f"SELECT * FROM dashboard.reading_window WHERE machine_id = %s AND sensor = 'sensor-2' AND"
            f" {_TIME.format('window_start')}",
            [[machine, *_DAY] for machine in series],
        ),
        Question(
            "one factory's anomalies of a day",
            f"SELECT * FROM dashboard.anomaly WHERE factory_id = %s AND {_TIME.format('event_time')}",
            [[f"factory-{number}", *_DAY] for number in range(FACTORIES)],
        ),
    ]


def ask(server: EmbeddedPostgres, dsn: str, asked: Sequence[Question]) -> list[Answer]:
    """Ask everything as a dashboard does, each question after a restart of its own."""
    login = make_conninfo(dsn, user=_LOGIN, password=_LOGIN)
    answers = []
    for question in asked:
        restart_cold(server, dsn)
        with psycopg.connect(login, autocommit=True, prepare_threshold=None) as dashboard:
            dashboard.execute("SET timezone TO 'UTC'")
            cold = [_took_ms(dashboard, question, subject) for subject in question.subjects]
            warm = sorted(_took_ms(dashboard, question, each) for _ in range(_TIMES) for each in question.subjects)
            found = dashboard.execute(question.query, question.subjects[0]).fetchall()
            row = dashboard.execute(f"EXPLAIN (FORMAT JSON) {question.query}", question.subjects[0]).fetchone()
        assert row is not None
        first, *others = cold
        others.sort()
        plan = " > ".join(_nodes(row[0][0]["Plan"]))
        ranks = (_at(warm, 0.5), _at(warm, 0.95), first, _at(others, 0.5), _at(others, 0.95))
        answers.append(Answer(question.what, len(found), *ranks, plan))
        print(f"{question.what}: {ranks[0]:.1f} ms", flush=True)
    return answers


def restart_cold(server: EmbeddedPostgres, dsn: str) -> None:
    """Restart the server and make the system forget what its files hold."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        (folder,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        connection.execute("CHECKPOINT")
    server.stop()
    for path in Path(folder).rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    server.start()


def insert(server: EmbeddedPostgres, dsn: str, history: History) -> dict[str, dict[str, float]]:
    """Store some transactions in turns: without the index, with it, and two hours late; return rates and CPU of each."""
    after = history.transactions
    with connect(dsn) as connection:
        for table, kept in (("bare_event", "event_machine"), ("found_event", "")):
            connection.execute(f"CREATE TABLE {table} (LIKE event INCLUDING DEFAULTS)")
            statements = connection.execute(
                "SELECT replace(regexp_replace(pg_get_indexdef(indexrelid), ' ON (ONLY )?\\S+', ' ON ' || %s), 'INDEX '"
                " || relname, 'INDEX') FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
                " WHERE indrelid = 'event'::regclass AND relname <> %s",
                [table, kept],
            ).fetchall()
            for (statement,) in statements:
                connection.execute(statement)
        connection.commit()
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in _WAYS}
        for number in range(_COPY_ROUNDS):
            for name, (table, late_ms) in _WAYS.items():
                begin = after + number * _BLOCKS
                blocks = [history.block(k, late_ms) for k in range(begin, begin + _BLOCKS)]
                seen[name].append(_copied(server, connection, table, blocks, _BLOCKS * ROUNDS * history.machines))
    return {
        name: {"rows/s": statistics.median(x[0] for x in each), "µs CPU a row": statistics.median(x[1] for x in each)}
        for name, each in seen.items()
    }


def _copied(
    server: EmbeddedPostgres, connection: psycopg.Connection, table: str, blocks: Sequence[bytes], stored: int
) -> tuple[float, float]:
    """Store blocks, a transaction each; return rows a second and the server's CPU of a row, µs."""
    began, spent = time.perf_counter(), server_cpu_s(server.pid)
    for block in blocks:
        with connection.cursor().copy(f"COPY {table} ({EVENT}) FROM STDIN (FORMAT binary)") as copy:
            copy.write(block)
        connection.commit()
    return stored / (time.perf_counter() - began), (server_cpu_s(server.pid) - spent) / stored * 1e6


def _took_ms(connection: psycopg.Connection, question: Question, subject: list[object]) -> float:
    began = time.perf_counter()
    connection.execute(question.query, subject).fetchall()
    return (time.perf_counter() - began) * 1000


def _nodes(plan: dict[str, Any]) -> list[str]:
    """Return a plan's nodes from the top, with the index or table of each."""
    where = plan.get("Index Name") or plan.get("Relation Name")
    inner = [name for each in plan.get("Plans", ()) for name in _nodes(each)]
    return [f"{plan['Node Type']} {where}" if where else plan["Node Type"], *inner]


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _show(filled: dict[str, Any], answers: Sequence[Answer], inserts: dict[str, dict[str, float]]) -> None:
    report.show("", ("stored", ""), list(filled.items()))
    names = ("question", "rows", "warm p50 ms", "p95 ms", "first ms", "cold p50 ms", "p95 ms")
    report.show("", names, [list(asdict(each).values())[:-1] for each in answers])
    for each in answers:
        print(f"{each.what}: {each.plan}")
    base = inserts["without the index"]
    # The system counts processor time in steps of 10 ms: a short run may have taken none
    ratios = [
        (name, *each.values(), *(each[what] / base[what] if base[what] else math.nan for what in each))
        for name, each in inserts.items()
    ]
    report.show("", ("COPY", "rows/s", "µs CPU a row", "× rows/s", "× CPU"), ratios)

"""Maintenance classes on the real database (R18, R27, R34): tables and views against SQL over messages; rules that change."""

from __future__ import annotations

import random

from tests.core.raw_messages import command
from tests.core.sinks import record
from tests.core.test_requirements import HOUR_MS, RULES, message
from tests.store.database_sink import DatabaseSink, stored
from tests.store.owners import fold_as_owner, replayed

_RANDOM = random.Random(7)
SENT = [
    message(
        f"m{_RANDOM.randrange(3)}",
        n * 60_000 - (_RANDOM.randrange(2 * HOUR_MS) if n % 9 == 0 else 0),
        n * 60_000,
        temperature=_RANDOM.choice([45.0, 55.0, 75.0]),
        pressure=_RANDOM.choice([7400.0, 7539.0, 7539.0, 7700.0]),
        humidity=20.0,
    )
    for n in range(240)
]

# What the rules say, from the stored messages alone
_JUDGED = """
WITH sent AS (
    SELECT machine_id, event_time, source_offset, (body -> 'readings' ->> 'pressure')::float8 AS p,
           (body -> 'readings' ->> 'temperature')::float8 AS t
    FROM event WHERE event_type = 'Telemetry Ingest'
), judged AS (
    SELECT *, CASE WHEN p < 7475 AND t < 70 THEN 1 WHEN p > 7600 AND t >= 50 AND t < 70 THEN 2 WHEN p > 7600 AND t < 50 THEN 3
                   WHEN p < 7475 THEN 4 WHEN p > 7600 THEN 5 ELSE 0 END AS class,
           event_time < max(event_time) OVER (PARTITION BY machine_id ORDER BY source_offset) AS is_old
    FROM sent
)
"""
_CHANGES = (
    _JUDGED
    + """
SELECT source_offset, machine_id, previous, class FROM (
    SELECT *, lag(class, 1, -1) OVER (PARTITION BY machine_id ORDER BY source_offset) AS previous FROM judged WHERE NOT is_old
) AS newest WHERE class <> previous ORDER BY 1
"""
)
_HOURS = (
    _JUDGED
    + """
SELECT machine_id, class, date_trunc('hour', event_time, 'UTC'), count(*), min(event_time), max(event_time)
FROM judged GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
)
_STATE = (
    _JUDGED
    + """
SELECT DISTINCT ON (machine_id) machine_id, class FROM judged ORDER BY machine_id, event_time DESC, source_offset DESC
"""
)


def test_tables_and_views_say_what_sql_over_the_messages_says(database, admin, dashboard) -> None:
    stored(database.dsn, SENT, RULES, range(0, 240, 17))

    changes = dashboard.execute(
        "SELECT source_offset, machine_id, previous_class, class FROM dashboard.maintenance_requirement ORDER BY 1"
    ).fetchall()
    assert changes == admin.execute(_CHANGES).fetchall()
    assert len(changes) > 50
    hours = dashboard.execute(
        "SELECT machine_id, class, window_start, messages, first_time, last_time FROM dashboard.maintenance_aggregate"
        " ORDER BY 1, 2, 3"
    ).fetchall()
    assert hours == admin.execute(_HOURS).fetchall()
    states = dashboard.execute("SELECT machine_id, class FROM dashboard.maintenance_state ORDER BY 1").fetchall()
    assert states == admin.execute(_STATE).fetchall()
    late = dashboard.execute("SELECT sum(late_count) > 0, count(*) FROM dashboard.maintenance_aggregate WHERE complete")
    assert late.fetchone()[0]


def test_a_rule_takes_effect_where_the_partition_heard_of_it_and_a_replay_gives_the_same_rows(database, admin) -> None:
    body = {"class": 3, "name": "Warm", "conditions": [{"sensor": "temperature", "op": ">=", "value": 60}]}
    order = command(entity="maintenance_rule", id="warm", body=body, time="2026-09-21T14:14:00Z")
    records = [record(n, message("m0", n * 1000, temperature=60.0, pressure=7539.0)) for n in range(40)]
    records[5] = record(5, {"fact": order, "ingest_ms": records[4].timestamp})
    live = DatabaseSink(database.dsn)
    fold_as_owner(live, records, [10, 20, 30], RULES, told_at=20)

    place = admin.execute('SELECT "offset", ordinal FROM control_effect').fetchall()
    changes = admin.execute(
        "SELECT source_offset, class, previous_class, rule_id, rule_version, name FROM maintenance_requirement ORDER BY 1"
    ).fetchall()
    counts = admin.execute("SELECT class, messages FROM maintenance_aggregate ORDER BY class").fetchall()
    assert (place, changes) == ([(20, 0)], [(0, 0, -1, "", 0, ""), (20, 3, 0, "warm", 1, "Warm")])
    # Before the rule, all were judged by the defaults; the command is no message of a machine
    assert counts == [(0, 19), (3, 20)]

    rows = replayed(database.dsn, admin, live, records, [7, 33], RULES)
    live.close()
    assert (rows["maintenance_requirement"], rows["maintenance_aggregate"]) == (2, 2)

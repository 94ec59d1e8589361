"""What windows and operating cycles should be, computed by DuckDB from a ledger in order: nothing of the pipeline's code.

Readings are whole thousandths in the ledger, so counts, sums and sums of squares are exact whole numbers here; only the last
division is not. All times are ms since the epoch, UTC.
"""

from __future__ import annotations

DELAY_MS, LATENESS_MS, GAP_MS = 10_000, 7_200_000, 30_000

# A message that a device sent twice counts where it came first; what is late follows from what came before it in its partition
PREPARE = f"""
CREATE TABLE message AS
SELECT *, (time_ms // 30000 + 1) * 30000 AS half_minute_ends FROM ledger
QUALIFY row_number() OVER (PARTITION BY machine_id, seq, time_ms ORDER BY partition, pos) = 1;

CREATE TABLE judged AS
SELECT *, coalesce(half_minute_ends <= watermark, false) AS late,
       coalesce(half_minute_ends + {LATENESS_MS} <= watermark, false) AS very_late
FROM (
    SELECT *, max(least(time_ms, arrives_ms)) OVER before - {DELAY_MS} AS watermark FROM message
    WINDOW before AS (PARTITION BY partition ORDER BY pos ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
);

CREATE TABLE reached AS
SELECT partition, max(least(time_ms, arrives_ms)) - {DELAY_MS} AS watermark FROM message GROUP BY partition;

CREATE TABLE sessioned AS
SELECT *, sum(begins::int) OVER (PARTITION BY machine_id ORDER BY time_ms) AS cycle
FROM (
    SELECT *, coalesce(time_ms - lag(time_ms) OVER (PARTITION BY machine_id ORDER BY time_ms) > {GAP_MS}, true) AS begins
    FROM judged
);

-- One that goes on is not seen whole: it is over once its partitions' event time has come to a minute beyond its gap
CREATE TABLE cycle AS
SELECT machine_id, cycle, any_value(factory_id) AS factory_id, min(time_ms) AS started, max(time_ms) AS ended,
       count(*) AS messages
FROM sessioned JOIN reached USING (partition)
GROUP BY machine_id, cycle HAVING max(time_ms) + {GAP_MS} < min(reached.watermark // 60000 * 60000);

CREATE TABLE reading AS
UNPIVOT (
    SELECT sessioned.* EXCLUDE (watermark), reached.watermark FROM sessioned JOIN reached USING (partition)
) ON temperature, pressure, electricity INTO NAME sensor VALUE value
"""

_MOMENTS = """
count(*) AS count, sum(value) / count(*) / 1000 AS mean,
CASE WHEN count(*) = 1 THEN 0 ELSE sqrt((count(*) * sum(value * value) - sum(value) * sum(value)) / (count(*) * (count(*) - 1)))
END / 1000 AS stddev, min(value) / 1000 AS min, max(value) / 1000 AS max
"""
_WINDOWS = (
    """
SELECT {key}, sensor, {start} AS window_start, {start} + {size} AS window_end, """
    + _MOMENTS
    + """,
       arg_max(value, time_ms) / 1000 AS last, max(time_ms) AS last_time, count(*) FILTER (WHERE late) AS late_count,
       count(*) FILTER (WHERE very_late) AS very_late_count, bool_and({start} + {size} <= watermark) AS complete
FROM reading {steps} GROUP BY {key}, sensor, {start}
"""
)


def _windows(key: str, size_ms: int) -> str:
    return _WINDOWS.format(key=key, size=size_ms, start=f"time_ms // {size_ms} * {size_ms}", steps="")


_MACHINE, _FACTORY = "machine_id, factory_id", "factory_id"

EXPECTED: dict[str, tuple[str, str]] = {
    "event": (
        "partition, source_offset",
        "SELECT partition, pos AS source_offset, machine_id, factory_id, time_ms AS event_time, arrives_ms AS ingest_time"
        " FROM message",
    ),
    "machine_state": (
        "machine_id",
        "SELECT machine_id, factory_id, last_seen, messages, sent - messages AS duplicates, late, very_late FROM ("
        " SELECT machine_id, factory_id, max(time_ms) AS last_seen, count(*) AS messages, count(*) FILTER (late) AS late,"
        " count(*) FILTER (very_late) AS very_late FROM judged GROUP BY ALL)"
        " JOIN (SELECT machine_id, count(*) AS sent FROM ledger GROUP BY ALL) USING (machine_id)",
    ),
    "reading_window_30s": ("machine_id, sensor, window_start", _windows(_MACHINE, 30_000)),
    "reading_window": ("machine_id, sensor, window_start", _windows(_MACHINE, 60_000)),
    "reading_window_5min": (
        "machine_id, sensor, window_start",
        _WINDOWS.format(
            key=_MACHINE,
            size=300_000,
            start="(time_ms // 60000 - step) * 60000",
            steps="CROSS JOIN range(5) AS _ (step)",
        ),
    ),
    "reading_hour": ("machine_id, sensor, window_start", _windows(_MACHINE, 3_600_000)),
    "reading_day": ("machine_id, sensor, window_start", _windows(_MACHINE, 86_400_000)),
    "factory_window": ("factory_id, sensor, window_start", _windows(_FACTORY, 60_000)),
    "factory_hour": ("factory_id, sensor, window_start", _windows(_FACTORY, 3_600_000)),
    "factory_day": ("factory_id, sensor, window_start", _windows(_FACTORY, 86_400_000)),
    "operating_cycle": (
        "machine_id, started",
        "SELECT machine_id, factory_id, started, ended, ended - started AS duration, messages, true AS complete FROM cycle",
    ),
    "cycle_rolling": (
        "machine_id, sensor, started",
        f"""
        WITH one AS (
            SELECT machine_id, sensor, cycle, {_MOMENTS} FROM reading GROUP BY machine_id, sensor, cycle
        )
        SELECT machine_id, factory_id, sensor, started, ended, true AS complete, count, mean, stddev, min, max,
               count(*) OVER five AS cycles, avg(mean) OVER five AS rolling_mean, max(max) OVER five AS rolling_max
        FROM one JOIN cycle USING (machine_id, cycle)
        WINDOW five AS (PARTITION BY machine_id, sensor ORDER BY started ROWS BETWEEN 4 PRECEDING AND CURRENT ROW)
        """,
    ),
}
"""By view: the columns of its key, and the query that gives its rows."""

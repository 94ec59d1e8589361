"""What the demo shows while it runs: rates, lag, latency, the latest anomalies, and where to look."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from pipeline.core.errors import PipelineError
from pipeline.demo.site import Site, embedded_psql
from pipeline.store import figures
from pipeline.store.connect import Connection, connect

_FIGURES = """
SELECT (SELECT coalesce(sum(effects_next), 0) FROM source_progress WHERE consumer_group = %(group)s),
       (SELECT count(*) FROM reading_window), (SELECT count(*) FROM anomaly),
       (SELECT count(*) FROM dead_letter WHERE consumer_group = %(group)s),
       (SELECT percentile_cont(array[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM stored_time - ingest_time) * 1000)
        FROM event WHERE event_time > now() - interval '1 minute' AND stored_time > now() - interval '5 seconds')
"""


@dataclass(frozen=True, slots=True)
class _Figures:
    records: int
    windows: int
    anomalies: int
    dead_letters: int
    latency_ms: list[float]


class Summary:
    """The live summary of one group's progress.

    Parameters
    ----------
    console
        On a terminal the summary redraws itself; else it is a line every few seconds.
    """

    def __init__(self, dsn: str, group: str, console: Console) -> None:
        self._dsn, self._group, self._console = dsn, group, console
        self._last: tuple[float, int] | None = None

    def where_to_look(self, site: Site, folder: Path) -> None:
        """Print how to look at the tables, and how to use the services from elsewhere."""
        at = conninfo_to_dict(site.dashboard_dsn)
        uri = f"postgresql://{at['user']}:{at['password']}@{at['host']}:{at['port']}/{at['dbname']}"
        psql = next(iter(embedded_psql()), "psql")
        self._say(f"look:  {psql} '{uri}'")
        self._say("       SELECT * FROM dashboard.freshness;       how far each table is complete")
        self._say("       SELECT * FROM dashboard.reading_window;  also: machine_state, anomaly, event_rate")
        self._say(f"logs:  {folder}")
        self._say(
            'use:   paste this into another terminal, then `pipeline status`, `psql "$PIPELINE_POSTGRES__DSN"` and so on'
        )
        for line in site.exports():
            self._say(line)

    def _say(self, line: str) -> None:
        """Print a line as it is: not folded, nor taken for markup, so that it can be copied."""
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    @contextmanager
    def live(self) -> Iterator[Callable[[], None]]:
        """Give a function that shows how things stand."""
        with connect(self._dsn, autocommit=True, application_name="pipeline demo") as connection:
            live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else nullcontext()
            with live as screen:
                shown_at = 0.0

                def show() -> None:
                    nonlocal shown_at
                    at = self._figures(connection)
                    if screen is not None:
                        screen.update(Group(self._line(at), self._anomalies(connection)), refresh=True)
                    elif time.monotonic() - shown_at >= 5:
                        shown_at = time.monotonic()
                        self._say(self._line(at))

                yield show

    def _figures(self, connection: Connection) -> _Figures:
        try:
            row = connection.execute(_FIGURES, {"group": self._group}).fetchone()
        except psycopg.Error as error:
            raise PipelineError(f"the database went away: {error}") from error
        assert row is not None  # noqa: S101  # aggregates always give a row
        return _Figures(int(row[0]), row[1], row[2], row[3], row[4] or [0.0, 0.0])

    def _line(self, at: _Figures) -> str:
        now = time.monotonic()
        before = self._last
        self._last = (now, at.records)
        rate = (at.records - before[1]) / (now - before[0]) if before else 0.0
        return (
            f"stored {at.records:,} records ({rate:,.0f}/s) · {at.windows:,} windows · {at.anomalies:,} anomalies · "
            f"{at.dead_letters:,} dead letters · latency p50 {at.latency_ms[0]:.0f} ms, p99 {at.latency_ms[1]:.0f} ms"
        )

    def _anomalies(self, connection: Connection) -> Table:
        table = Table(title="latest anomalies", title_justify="left", box=None)
        for name in ("event time", "factory", "machine", "sensor", "kind", "observed", "expected", "score"):
            table.add_column(name)
        for x in figures.latest_anomalies(connection, 8):
            numbers = (f"{x.observed:.2f}", f"{x.expected:.2f}", f"{x.score:.1f}")
            table.add_row(f"{x.event_time:%H:%M:%S}", x.factory_id, x.machine_id, x.sensor, x.kind, *numbers)
        return table

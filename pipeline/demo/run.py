"""The demo: everything at once on this machine, watched while it runs, verified when it ends."""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from rich.console import Console

from agents.starting import warm_up
from pipeline.broker import topics
from pipeline.broker.embedded import EmbeddedBroker
from pipeline.broker.security import BrokerSecurity
from pipeline.connections import broker_security
from pipeline.core.errors import PipelineError, SettingsError
from pipeline.demo.site import CLUSTER, TOPIC, Site
from pipeline.demo.summary import Summary
from pipeline.processes import Child
from pipeline.settings import load
from pipeline.store import figures
from pipeline.store.connect import address, connect
from pipeline.store.embedded import EmbeddedPostgres
from pipeline.store.migrate import migrate
from pipeline.verifying import verify
from simulator.fact_ledger import beside

DATABASE = "pipeline_demo"
WORKER_LOGIN, DASHBOARD_LOGIN = "demo_worker", "demo_dashboard"
_SOMEBODY = "SELECT FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
CATCH_UP_S = 60.0
_STOP_S = 30.0
_PARTITIONS = 8
_PLANT = {
    "duplicate_share": 0.01,
    "late_share": 0.01,
    "late_max_ms": 8_000,
    "out_of_order_share": 0.01,
    "offline_share": 0.0002,
    "offline_ms": 6_000,
    "garbage_share": 0.005,
    "array_share": 0.02,
    "lab_share": 0.05,
    "device_headers": True,
}
"""How badly the demo's devices behave; see :class:`simulator.options.PlantOptions`."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the demo runs.

    Parameters
    ----------
    duration_s
        When to end, s; 0: on Ctrl-C.
    machines, rate
        Of the plant; messages per second.
    workers
        Worker processes.
    folder
        Where embedded services, logs and the ledger are.
    plant
        More about the plant, ``key=value`` each, as ``pipeline simulate --plant`` takes it; wins over what the demo has.
    """

    duration_s: float
    machines: int
    rate: float
    workers: int
    folder: Path
    plant: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it."""

    summary: Mapping[str, Any]
    holds: bool


class _Interrupted(Exception):  # a wish, no error
    """Somebody pressed Ctrl-C."""


def run(options: DemoOptions) -> Report:
    """Run the demo until its time is over or somebody presses Ctrl-C; then let the workers catch up, and verify.

    Broker and database are embedded unless ``PIPELINE_BROKER__ADDRESS`` or ``PIPELINE_POSTGRES__ADMIN_DSN`` name others;
    there, only topics of this run and the database ``pipeline_demo`` are touched.
    """
    console = Console(stderr=True)
    folder = options.folder.resolve() / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    ledger = folder / "ledger.csv"
    for path in (ledger, beside(ledger)):
        path.unlink(missing_ok=True)
    with ExitStack() as stack, _interruptible():
        site = stack.enter_context(_services(options.folder, console))
        with _processes(site, options, ledger, folder) as processes:
            Summary(site.dsn, site.group, console).where_to_look(site, folder)
            _watch(options, site, console, processes)
            _stop(processes[-1:])
            _catch_up(ledger, site, console)
        console.print("[dim]verifying …[/dim]")
        found = verify.verify(ledger, site.dsn, group=site.group)
        return Report(found.summary, found.holds)


@contextmanager
def _services(folder: Path, console: Console) -> Iterator[Site]:
    """Start what is not given, and prepare it."""
    with ExitStack() as stack:
        own = broker = os.environ.get("PIPELINE_BROKER__ADDRESS", "")
        if not own:
            console.print("[dim]starting Apache Kafka …[/dim]")
            broker = stack.enter_context(EmbeddedBroker(folder / "kafka")).address
        server = os.environ.get("PIPELINE_POSTGRES__ADMIN_DSN", "")
        if not server:
            console.print("[dim]starting PostgreSQL …[/dim]")
            server = stack.enter_context(EmbeddedPostgres(folder / "postgres")).dsn
        # The first time they take some seconds to compile; once here is better than in every worker at once
        console.print("[dim]compiling kernels …[/dim]")
        warm_up()
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d%H%M%S")
        site = _prepare_database(server, broker, f"demo-{stamp}")
        security = broker_security(load()) if own else BrokerSecurity()
        topics.create_topics(broker, security, [f"{site.prefix}{TOPIC}"], _PARTITIONS)
        yield site
        # A topic of your own broker would stay for ever; the embedded one's goes with it
        topics.delete_topics(broker, security, [f"{site.prefix}{TOPIC}"])


def _require_unused(connection: psycopg.Connection) -> None:
    """Refuse a server on which another demo is at work; what one that was killed has left ends by itself soon."""
    for _ in range(10):
        if connection.execute(_SOMEBODY, [DATABASE]).fetchone() is None:
            return
        time.sleep(0.5)
    raise SettingsError(
        f"the database {DATABASE} is in use, by another demo or by whoever looks at it: stop that, or name another server"
        " in PIPELINE_POSTGRES__ADMIN_DSN"
    )


def _prepare_database(server: str, broker: str, run_name: str) -> Site:
    try:
        with connect(server, autocommit=True, application_name="pipeline demo") as connection:
            _require_unused(connection)
            connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {DATABASE}")
        dsn = make_conninfo(server, dbname=DATABASE)
        migrate(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            for login, role in ((WORKER_LOGIN, "pipeline_worker"), (DASHBOARD_LOGIN, "pipeline_dashboard")):
                if connection.execute("SELECT to_regrole(%s)", [login]).fetchone() == (None,):
                    connection.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{login}'")
                connection.execute(f"GRANT {role} TO {login}")
    except psycopg.Error as error:
        raise PipelineError(f"the database at {address(server)} could not be prepared: {error}") from error
    worker, dashboard = (make_conninfo(dsn, user=name, password=name) for name in (WORKER_LOGIN, DASHBOARD_LOGIN))
    is_own = not os.environ.get("PIPELINE_POSTGRES__ADMIN_DSN")
    return Site(broker, dsn, worker, dashboard, prefix=f"{run_name}.", group=run_name, has_own_server=is_own)


@contextmanager
def _processes(site: Site, options: DemoOptions, ledger: Path, folder: Path) -> Iterator[list[Child]]:
    """Start workers and, last in the list, the plant; end them all. Whatever becomes of this process, they end too."""
    plant = [f"--plant={key}={value}" for key, value in _PLANT.items()]
    plant += [
        *(f"--plant={pair}" for pair in options.plant),
        f"--machines={options.machines}",
        f"--rate={options.rate}",
    ]
    names = [f"worker-{number}" for number in range(1, options.workers + 1)]
    started: list[Child] = []
    try:
        for name in names:
            _start(started, site, folder, name, "worker", f"--name={name}")
        _wait_for_workers(site, started)
        _start(started, site, folder, "simulator", "simulate", f"--ledger={ledger}", *plant)
        yield started
    finally:
        _stop(started)


def _start(started: list[Child], site: Site, folder: Path, name: str, command: str, *arguments: str) -> None:
    child = Child(folder, name, mark=arguments[0], stop_signal=signal.SIGTERM)
    child.claim()
    started.append(child)
    child.log_file.unlink(missing_ok=True)
    child.spawn([sys.executable, "-m", "pipeline", command, *arguments], environment=site.environment())


def _wait_for_workers(site: Site, workers: list[Child]) -> None:
    """Return when every partition has an owner."""
    deadline = time.monotonic() + CATCH_UP_S
    with connect(site.dsn, autocommit=True, application_name="pipeline demo") as connection:
        while len(figures.progress(connection, CLUSTER, site.group)) < _PARTITIONS:
            if time.monotonic() > deadline or not all(worker.is_running for worker in workers):
                raise PipelineError(f"the workers did not start: {workers[0].last_words(1)}")
            time.sleep(0.1)


def _stop(children: list[Child]) -> None:
    for child in children:
        child.ask_to_stop()
    for child in children:
        child.stop(_STOP_S)


def _watch(options: DemoOptions, site: Site, console: Console, processes: list[Child]) -> None:
    """Show what happens until the time is over, somebody interrupts, or a process dies."""
    ends = time.monotonic() + options.duration_s if options.duration_s else float("inf")
    try:
        with Summary(site.dsn, site.group, console).live() as show:
            while time.monotonic() < ends:
                time.sleep(min(1.0, max(0.0, ends - time.monotonic())))
                show()
                died = next((process for process in processes if not process.is_running), None)
                if died is not None:
                    raise PipelineError(f"{died.log_file.stem} ended; its log {died.log_file}: {died.last_words(1)}")
    except _Interrupted:
        console.print("[dim]stopping …[/dim]")


def _catch_up(ledger: Path, site: Site, console: Console) -> None:
    console.print("[dim]letting the workers catch up …[/dim]")
    ends = verify.ledger_ends(ledger)
    deadline = time.monotonic() + CATCH_UP_S
    while (behind := verify.behind(ends, site.dsn, site.group)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if behind:
        console.print(f"[red]{behind} records are still not stored after {CATCH_UP_S:.0f} s[/red]")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C, TERM and a closed terminal end the demo in order; the next one ends it at once.

    At once, too, leaves nothing behind: every process has a guard that ends it when this process is gone.
    """

    def interrupt(*_: Any) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
        raise _Interrupted

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    except _Interrupted:
        # Before there was anything to verify
        raise KeyboardInterrupt from None
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

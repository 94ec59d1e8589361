"""Workers and plants as the processes they are in a factory, for tests to start, stop, freeze and kill."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg.rows import dict_row

from tests.forks import Forks

PIPELINE = ("-m", "pipeline")
"""What Python is to run for the command ``pipeline``."""

_IN_A_FORK = "tests.system.commands:pipeline"
_SCRIPT_IN_A_FORK = "tests.system.commands:script"


class Site:
    """One consumer group against one broker and one database.

    Parameters
    ----------
    settings
        More settings, by the names of their variables without the prefix, for example ``FLUSH__MAX_RECORDS``.
    commands
        Forks the processes, which spares each of them the imports; ``None``: they are started.
    """

    def __init__(
        self,
        folder: Path,
        broker: str,
        dsn: str,
        topics: list[str],
        settings: Mapping[str, object] | None = None,
        commands: Forks | None = None,
    ) -> None:
        self.folder, self.dsn, self.group, self.topics = folder, dsn, f"g-{topics[0]}", topics
        self._commands = commands
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")} | {
            "PIPELINE_BROKER__ADDRESS": broker,
            "PIPELINE_BROKER__TOPICS": "[" + ",".join(f'"{topic}"' for topic in topics) + "]",
            "PIPELINE_BROKER__GROUP": self.group,
            "PIPELINE_BROKER__SESSION_TIMEOUT_S": "6",
            "PIPELINE_BROKER__HEARTBEAT_INTERVAL_S": "1",
            "PIPELINE_POSTGRES__DSN": dsn,
            # Times of messages are made up: the clock says nothing about them
            "PIPELINE_SILENCE__TICK_S": "0",
            # What other detectors find depends on more than one reading; who tests them says so
            "PIPELINE_DETECTORS__ENABLED": "[]",
            "PIPELINE_FLUSH__WINDOWS_INTERVAL_S": "1",
            "PIPELINE_FLUSH__SNAPSHOT_INTERVAL_S": "3",
            "PIPELINE_LOG__FORMAT": "json",
            **{f"PIPELINE_{name}": str(value) for name, value in (settings or {}).items()},
        }
        self._started: list[Process] = []
        self._asking: psycopg.Connection | None = None
        self._numbers = itertools.count()

    def start(self, name: str, *command: str, program: Sequence[str] = PIPELINE, **more: str) -> Process:
        log, environment = self.folder / f"{name}.log", self.environment | more
        if self._commands is None:
            process = Process.spawned(log, [*program, *command], environment)
        elif program == PIPELINE:
            process = Process(log, self._commands.start(_IN_A_FORK, log, environment, words=command))
        else:
            words = [*program, *command]
            process = Process(log, self._commands.start(_SCRIPT_IN_A_FORK, log, environment, words=words))
        self._started.append(process)
        return process

    def worker(self, name: str, program: Sequence[str] = PIPELINE, **more: str) -> Process:
        return self.start(name, "worker", f"--name={name}", program=program, **more)

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        words = [sys.executable, *PIPELINE, *command]
        environment = self.environment | more
        if self._commands is None:
            return subprocess.run(
                words, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
            )
        number = next(self._numbers)
        said, errors = self.folder / f"run-{number}.said", self.folder / f"run-{number}.errors"
        code = self._commands.start(_IN_A_FORK, said, environment, errors, words=command).wait(120)
        return subprocess.CompletedProcess(words, code, said.read_text(), errors.read_text())

    def end(self) -> None:
        for process in self._started:
            process.end()
        self._hang_up()

    def one(self, query: str, *parameters: object) -> int:
        """Return the only number of a query."""
        if self._asking is not None:
            try:
                return self._number(self._asking, query, *parameters)
            except psycopg.OperationalError:
                # The server may have been another one since
                self._hang_up()
        # Kept, for whoever waits asks ten times a second, and a login costs more than an answer
        self._asking = psycopg.connect(self.dsn, options="-c search_path=telemetry", autocommit=True)
        return self._number(self._asking, query, *parameters)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        with psycopg.connect(self.dsn, options="-c search_path=telemetry", row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()

    def stored(self) -> int:
        """Return how many records the effects marks have passed."""
        return self.one("SELECT sum(effects_next) FROM source_progress WHERE consumer_group = %s", self.group)

    def merged(self) -> int:
        """Return how many records the windows marks have passed."""
        return self.one("SELECT sum(windows_next) FROM source_progress WHERE consumer_group = %s", self.group)

    def wait(self, until: Callable[[], bool], within_s: float = 60.0) -> None:
        """Wait for a condition; fail with what the processes said last."""
        deadline = time.monotonic() + within_s
        try:
            while not until():
                if time.monotonic() > deadline:
                    raise AssertionError("not reached; " + " || ".join(each.last_words() for each in self._started))
                time.sleep(0.1)
        finally:
            # A database is copied only while nobody is connected to it
            self._hang_up()

    def _number(self, connection: psycopg.Connection, query: str, *parameters: object) -> int:
        row = connection.execute(query, parameters).fetchone()
        assert row is not None
        return int(row[0] or 0)

    def _hang_up(self) -> None:
        if self._asking is not None:
            self._asking.close()
            self._asking = None


@contextmanager
def sites(
    folder: Path, broker_address: str, dsn: str, topic: Callable[..., str], commands: Forks
) -> Iterator[Callable[..., Site]]:
    """Return a function that makes a site with topics of its own; its processes end with the ``with``."""
    made: list[Site] = []

    def make(topics: int = 1, partitions: int = 4, settings: dict[str, object] | None = None) -> Site:
        names = [topic(partitions=partitions) for _ in range(topics)]
        made.append(Site(folder, broker_address, dsn, names, settings, commands))
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.end()


class Handle(Protocol):
    """A process that was started or forked."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""

    def kill_group(self) -> None:
        """Kill it and all that it started."""

    def poll(self) -> int | None:
        """Return how it ended; ``None`` while it runs."""

    def wait(self, timeout_s: float) -> int:
        """Return how it ended, once it has."""


class _Spawned:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill_group(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)

    def poll(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout_s: float) -> int:
        return self._process.wait(timeout_s)


class Process:
    """One process, and what it said."""

    def __init__(self, log: Path, handle: Handle) -> None:
        self.log, self._handle = log, handle

    @classmethod
    def spawned(cls, log: Path, command: list[str], environment: Mapping[str, str]) -> Process:
        """Start what Python is to run."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, *command],
                env=environment,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(log, _Spawned(process))

    def signal(self, number: signal.Signals) -> None:
        self._handle.signal(number)

    def kill_group(self) -> None:
        """End it and all that it started at once, as a power cut would."""
        self._handle.kill_group()
        self.wait()

    @property
    def exit_code(self) -> int | None:
        """How it ended; ``None`` while it runs."""
        return self._handle.poll()

    def wait(self, timeout_s: float = 60.0) -> int:
        return self._handle.wait(timeout_s)

    def stop(self) -> int:
        """Stop it in order; return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def end(self) -> None:
        if self.exit_code is None:
            self.signal(signal.SIGKILL)
            self.wait()

    def said(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return its log lines of one event."""
        found = [line for line in self.log.read_text(errors="replace").splitlines() if f'"event": "{event}"' in line]
        return [json.loads(line) for line in found]

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and body of a question to its health endpoint."""
        (listening,) = self.lines("health.listening")
        try:
            with urllib.request.urlopen(f"http://{listening['address']}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def last_words(self) -> str:
        return f"{self.log.name}: {self.log.read_text(errors='replace')[-600:]}"

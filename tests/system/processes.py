"""Workers and plants as the processes they are in a factory, for tests to start, stop, freeze and kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

PIPELINE = ("-m", "pipeline")
"""What Python is to run for the command ``pipeline``."""


class Site:
    """One consumer group against one broker and one database.

    Parameters
    ----------
    settings
        More settings, by the names of their variables without the prefix, for example ``FLUSH__MAX_RECORDS``.
    """

    def __init__(
        self, folder: Path, broker: str, dsn: str, topics: list[str], settings: Mapping[str, object] | None = None
    ) -> None:
        self.folder, self.dsn, self.group, self.topics = folder, dsn, f"g-{topics[0]}", topics
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")} | {
            "PIPELINE_BROKER__ADDRESS": broker,
            "PIPELINE_BROKER__TOPICS": "[" + ",".join(f'"{topic}"' for topic in topics) + "]",
            "PIPELINE_BROKER__GROUP": self.group,
            "PIPELINE_BROKER__SESSION_TIMEOUT_S": "6",
            "PIPELINE_BROKER__HEARTBEAT_INTERVAL_S": "1",
            "PIPELINE_POSTGRES__DSN": dsn,
            "PIPELINE_FLUSH__WINDOWS_INTERVAL_S": "1",
            "PIPELINE_FLUSH__SNAPSHOT_INTERVAL_S": "3",
            "PIPELINE_LOG__FORMAT": "json",
            **{f"PIPELINE_{name}": str(value) for name, value in (settings or {}).items()},
        }
        self._started: list[Process] = []

    def start(self, name: str, *command: str, program: Sequence[str] = PIPELINE, **more: str) -> Process:
        process = Process(self.folder / f"{name}.log", [*program, *command], self.environment | more)
        self._started.append(process)
        return process

    def worker(self, name: str, program: Sequence[str] = PIPELINE, **more: str) -> Process:
        return self.start(name, "worker", f"--name={name}", program=program, **more)

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, *PIPELINE, *command],
            env=self.environment | more,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def end(self) -> None:
        for process in self._started:
            process.end()

    def one(self, query: str, *parameters: object) -> int:
        """Return the only number of a query."""
        with psycopg.connect(self.dsn, options="-c search_path=telemetry", autocommit=True) as connection:
            row = connection.execute(query, parameters).fetchone()
        assert row is not None
        return int(row[0] or 0)

    def stored(self) -> int:
        """Return how many records the effects marks have passed."""
        return self.one("SELECT sum(effects_next) FROM source_progress WHERE consumer_group = %s", self.group)

    def merged(self) -> int:
        """Return how many records the windows marks have passed."""
        return self.one("SELECT sum(windows_next) FROM source_progress WHERE consumer_group = %s", self.group)

    def wait(self, until: Callable[[], bool], within_s: float = 60.0) -> None:
        """Wait for a condition; fail with what the processes said last."""
        deadline = time.monotonic() + within_s
        while not until():
            if time.monotonic() > deadline:
                raise AssertionError("not reached; " + " || ".join(process.last_words() for process in self._started))
            time.sleep(0.1)


class Process:
    """One process: what Python is to run, and what it said."""

    def __init__(self, log: Path, command: list[str], environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                env=environment,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill_group(self) -> None:
        """End it and all that it started at once, as a power cut would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def exit_code(self) -> int | None:
        """How it ended; ``None`` while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float = 60.0) -> int:
        return self._process.wait(timeout_s)

    def stop(self) -> int:
        """Stop it in order; return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

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

"""Who does the job: how each is started, and on how much of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Task:
    """What a process is told.

    Parameters
    ----------
    number, count
        Which of how many processes it is.
    folder
        Where it may keep state; its output goes there too.
    """

    address: str
    topic: str
    group: str
    dsn: str
    number: int
    count: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Contestant:
    """One of those that are compared.

    Parameters
    ----------
    command
        Arguments of Python, and more variables of the environment.
    ours
        Whether it writes into the project's own tables.
    share
        Part of the job's messages it gets: a slow one would take a quarter of an hour for all of them.
    windows
        Whether it keeps windows.
    marks
        Whether it keeps the project's marks, which say how far it has come.
    prepare
        What is done before its processes start, if anything.
    """

    name: str
    command: Callable[[Task], tuple[list[str], dict[str, str]]]
    ours: bool = False
    share: float = 1.0
    windows: bool = True
    marks: bool = False
    prepare: Callable[[Task], None] | None = None

    @property
    def missing(self) -> str:
        """Why it cannot run; empty if it can."""
        if self.ours or PEERS_PYTHON.exists():
            return ""
        return "its packages are not installed; `make peers` does that"

    def log_file(self, task: Task) -> Path:
        """Where a process's output goes."""
        return task.folder / f"{self.name.replace(' ', '-')}-{task.number}.log"

    def start(self, task: Task, more: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start one process, with more variables in its environment."""
        python = sys.executable if self.ours else str(PEERS_PYTHON)
        arguments, variables = self.command(task)
        with self.log_file(task).open("ab") as output:
            return subprocess.Popen(
                [python, *arguments],
                env=environment(variables | dict(more or {})),
                cwd=task.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that has these settings and no others."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return found | dict(variables)


def worker_variables(task: Task) -> dict[str, str]:
    """Return the settings of a worker that does job J; everything else is at its default."""
    return {
        "PIPELINE_DETECTORS__ENABLED": "[]",
        "PIPELINE_BROKER__ADDRESS": task.address,
        "PIPELINE_BROKER__TOPICS": f'["{task.topic}"]',
        "PIPELINE_BROKER__GROUP": task.group,
        "PIPELINE_POSTGRES__DSN": task.dsn,
        "PIPELINE_LOG__LEVEL": "warning",
    }


def _worker(task: Task) -> tuple[list[str], dict[str, str]]:
    return ["-m", "pipeline", "worker", f"--name=bench-{task.number}"], worker_variables(task)


def _bare(task: Task) -> tuple[list[str], dict[str, str]]:
    return ["-m", "benchmarks.bare", task.address, task.topic, task.group, task.dsn], {}


def _peer(module: str, *kind: str) -> Callable[[Task], tuple[list[str], dict[str, str]]]:
    def command(task: Task) -> tuple[list[str], dict[str, str]]:
        places = (task.address, task.topic, task.group, task.dsn, str(task.number), str(task.count), str(task.folder))
        return ["-m", f"benchmarks.peers.{module}", *kind, *places], {}

    return command


PIPELINE = Contestant("pipeline", _worker, ours=True, marks=True)
BARE = Contestant("bare fetch and copy", _bare, ours=True, windows=False)
CONTESTANTS = (
    BARE,
    PIPELINE,
    Contestant("custom consumer", _peer("consumer"), share=0.24),
    Contestant("quix streams", _peer("quix_app"), share=0.24),
    Contestant("bytewax recoverable", _peer("bytewax_flow", "recoverable"), share=0.24),
    Contestant("bytewax forgetful", _peer("bytewax_flow", "forgetful"), share=0.24),
    Contestant("tuned faust", _peer("faust_app", "tuned"), share=0.12),
    Contestant("textbook faust", _peer("faust_app", "textbook"), share=0.06),
)

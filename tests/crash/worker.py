"""``pipeline worker`` and the schema's commands, with something that happens at a crash point: run in a fork."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

import psycopg
from aiokafka.errors import CommitFailedError, IllegalStateError

from pipeline import crash_points
from pipeline.cli import main
from pipeline.crash_points import CrashPoint
from pipeline.store.connect import connect
from pipeline.store.migrate import make_partitions, migrate

_LOST = psycopg.OperationalError("server closed the connection unexpectedly")
_BUG = RuntimeError("a fault of the program")

ERRORS: dict[CrashPoint, Exception] = {
    CrashPoint.LOADING_SNAPSHOT: ValueError("a damaged snapshot"),
    CrashPoint.REBUILDING_STATE: _BUG,
    CrashPoint.BEFORE_SEEK: IllegalStateError("the partition is not assigned any more"),
    CrashPoint.FOLDING: _BUG,
    CrashPoint.BEFORE_SETTLING: _BUG,
    CrashPoint.SNAPSHOT_CUT: MemoryError("no memory for a snapshot"),
    CrashPoint.PUBLISHING_MARKS: CommitFailedError("the group moved on"),
    CrashPoint.DRAINING: _BUG,
    CrashPoint.DRAINED: _BUG,
}
"""What is to be expected at a point; everywhere else the connection to the database is lost."""


class Crash:
    """What happens at one point, once.

    Parameters
    ----------
    kind
        ``kill``, ``error``; ``freeze``: the whole process stops until it is continued; ``hang``: the thread that came by waits
        for the file ``release``, and the rest of the process goes on.
    folder
        Nothing happens before there is a file ``go`` in it; the file ``hit`` says that it happened.
    """

    def __init__(self, point: str, kind: str, folder: Path) -> None:
        self._point, self._kind, self._folder = CrashPoint(point), kind, folder
        self._done = False

    def __call__(self, point: CrashPoint) -> None:
        if self._done or point != self._point or not (self._folder / "go").exists():
            return
        self._done = True
        (self._folder / "hit").touch()
        if self._kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._kind == "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self._kind == "hang":
            while not (self._folder / "release").exists():
                time.sleep(0.02)
        else:
            raise ERRORS.get(point, _LOST)


def work(name: str, point: str = "", kind: str = "") -> NoReturn:
    """Run a worker until it is told to stop."""
    # A fault outside Python says where it was, and so does whoever hangs when it is asked
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    if point:
        crash_points.arm(Crash(point, kind, Path.cwd()))
    sys.argv = ["pipeline", "worker", f"--name={name}"]
    main()
    raise AssertionError("the command line ends the process")


def prepare_database(dsn: str, point: str, kind: str) -> None:
    """Bring a database to the newest schema and make the days ahead."""
    crash_points.arm(Crash(point, kind, Path.cwd()))
    migrate(dsn)
    with connect(dsn, autocommit=True) as connection:
        make_partitions(connection, days_ahead=9)

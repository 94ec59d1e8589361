"""Processes that begin with everything imported: forks of a process that has done it once and does nothing else.

A worker that starts from nothing spends seconds of processor time on imports; a fork of this server begins at once. The
server is run as ``python -m tests.forks PREPARE``; :class:`Forks` starts and asks it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_POLL_S = 0.02


class Forked:
    """One process that was forked."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid, self.log = pid, log

    def signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill_group(self) -> None:
        """End it and all that it started at once, as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def poll(self) -> int | None:
        """Return its exit code, minus the signal's number if one ended it; ``None`` while it runs."""
        with contextlib.suppress(FileNotFoundError):
            return int(_exit_file(self.log).read_text())
        return None

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for its end; if that does not come, it is asked by ``SIGUSR1`` what it does."""
        deadline = time.monotonic() + timeout_s
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self.signal(signal.SIGUSR1)
                time.sleep(0.5)
                raise AssertionError(f"{self.log.name} goes on: {self.last_words(10_000)}")
            time.sleep(_POLL_S)
        return code

    def last_words(self, length: int = 1500) -> str:
        return f"{self.log.name}: {self.log.read_text(errors='replace')[-length:]}"


class Forks:
    """The server, as its user sees it; its processes end with it.

    Parameters
    ----------
    prepare
        ``module:function`` that the server imports and calls once; neither may start a thread.
    """

    def __init__(self, prepare: str) -> None:
        self._one_at_a_time = threading.Lock()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.forks", prepare],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )

    def start(
        self, call: str, log: Path, environment: Mapping[str, str], errors: Path | None = None, **arguments: Any
    ) -> Forked:
        """Fork a process that calls ``module:function`` in an environment of its own, in the log's folder.

        Parameters
        ----------
        errors
            Where standard error goes; ``None``: into the log too.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        _exit_file(log).unlink(missing_ok=True)
        # Whoever asks may look into it before the process has written anything
        log.touch()
        request = {
            "call": call,
            "log": str(log),
            "errors": str(errors or log),
            "environment": dict(environment),
            "arguments": arguments,
        }
        with self._one_at_a_time:
            self._server.stdin.write(json.dumps(request).encode() + b"\n")
            self._server.stdin.flush()
            pid = int(self._server.stdout.readline())
        return Forked(pid, log)

    def close(self) -> None:
        self._server.communicate()


def _exit_file(log: Path) -> Path:
    return log.with_suffix(".exit")


def _named(call: str) -> Callable[..., Any]:
    module, _, name = call.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _serve() -> dict[str, Any] | None:
    """Fork for every line of standard input; return the request in the fork, ``None`` when there is no more."""
    children: dict[int, Path] = {}
    while True:
        asked, _, _ = select.select([0], [], [], _POLL_S)
        _reap(children)
        if not asked:
            continue
        # Whoever asks waits for the answer, so there is never a second line behind the first
        line = sys.stdin.buffer.readline()
        if not line:
            break
        request: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if pid == 0:
            return request
        children[pid] = Path(request["log"])
        print(pid, flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return None


def _reap(children: dict[int, Path]) -> None:
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            written = children[pid].with_suffix(".writing")
            written.write_text(str(os.waitstatus_to_exitcode(status)))
            written.rename(_exit_file(children.pop(pid)))


def _become(request: dict[str, Any]) -> None:
    """Be the process that was asked for."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "log"), (2, "errors")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    os.chdir(Path(request["log"]).parent)
    os.environ.clear()
    os.environ.update(request["environment"])
    _named(request["call"])(**request["arguments"])


if __name__ == "__main__":
    _named(sys.argv[1])()
    # What all forks share none of them need look through
    gc.freeze()
    asked_for = _serve()
    if asked_for is not None:
        _become(asked_for)

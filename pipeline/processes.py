"""Services run as child processes: ports, leftovers of a killed run, a clean end."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pwd
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.core.errors import SettingsError

# Below the range that systems hand to outgoing connections: a client that reconnects to a stopped service on a port of
# that range may be given this very port as its own, and the service can never listen there again
_PORTS = range(20_000, 30_000)
# Waits until its standard input ends, which it does when this process is gone, however it went
_GUARD = 'read -r _; kill -"$2" "$1" && sleep 15 && kill -KILL "$1"'


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens; somebody else may still take it first."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return that many different ports, each as :func:`free_port` would."""
    shuffled = random.sample(_PORTS, len(_PORTS))
    return list(itertools.islice(filter(is_free, shuffled), count))


def is_free(port: int) -> bool:
    """Return whether a service could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As services do, or a port whose old connections linger would count as taken
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until(condition: Callable[[], bool], timeout_s: float, *, every_s: float = 0.05) -> bool:
    """Ask until the condition holds; return whether it did within ``timeout_s`` seconds."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= end_s:
            return False
        time.sleep(every_s)
    return True


class Child:
    """One service as a child process, bound to a folder.

    The folder belongs to one run at a time: a lock says so, and is let go by the system when its holder dies. A service
    that outlived a killed run is found by its pid file and ended before the next one starts. The other way round, a
    guard process ends the service when this process is gone, even by SIGKILL.

    Parameters
    ----------
    folder
        Holds the lock, the pid file and the service's output.
    name
        Name of the service, for the files and for messages.
    mark
        Text in the command line by which the service is told from a stranger that was given its pid.
    stop_signal
        What makes the service stop cleanly.
    """

    def __init__(self, folder: Path, name: str, mark: str, stop_signal: signal.Signals) -> None:
        self._folder = folder
        self._name = name
        self._mark = mark
        self._stop_signal = stop_signal
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The service's process id."""
        if self._process is None:
            raise RuntimeError(f"{self._name} is not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the service was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        """Where the service's output goes."""
        return self._folder / f"{self._name}.log"

    def claim(self) -> None:
        """Take the folder for this run and end what a killed run left behind.

        Raises
        ------
        SettingsError
            Another run that is still alive uses the folder.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._folder / f"{self._name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._release()
            raise SettingsError(
                f"{self._folder} is in use by another run; stop that one or choose another folder"
            ) from error
        self._end_leftover()

    def spawn(
        self, command: Sequence[str], *, user: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the service in a session of its own, so that Ctrl-C in the terminal does not reach it."""
        self._reap()
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=environment,
                start_new_session=True,
                user=user,
                group=group_of(user),
                extra_groups=None if user is None else [],
            )
        self._pid_file.write_text(str(self._process.pid))
        self._guard = subprocess.Popen(  # noqa: S603 - the command is ours
            ["/bin/sh", "-c", _GUARD, "guard", str(self._process.pid), self._stop_signal.name.removeprefix("SIG")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def ask_to_stop(self) -> None:
        """Tell the service to stop, and do not wait for it: several can end at the same time."""
        if self._process is not None and self.is_running:
            self._process.send_signal(self._stop_signal)

    def stop(self, patience_s: float = 15.0) -> None:
        """End the service cleanly, by force once ``patience_s`` seconds have passed; let go of the folder."""
        if self._process is not None and self.is_running:
            self.ask_to_stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        self.kill()

    def kill(self) -> None:
        """End the service at once, as a power cut would; let go of the folder."""
        self._reap()
        self._release()

    def last_words(self, lines: int = 3) -> str:
        """Return the end of the service's output in one line."""
        if not self.log_file.exists():
            return ""
        text = self.log_file.read_text(errors="replace").strip()
        return " | ".join(line.strip() for line in text.splitlines()[-lines:])

    @property
    def _pid_file(self) -> Path:
        return self._folder / f"{self._name}.pid"

    def _reap(self) -> None:
        """End guard and service, in this order: once it is waited for, the service's pid may be a stranger's."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._pid_file.unlink(missing_ok=True)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _end_leftover(self) -> None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int(self._pid_file.read_text())
            if self._mark in command_line(pid):
                _end(pid, self._stop_signal, lambda: self._mark not in command_line(pid))
        self._pid_file.unlink(missing_ok=True)


def command_line(pid: int) -> str:
    """Return the command line of a running process, empty if there is none."""
    if Path("/proc/self").exists():
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - our command


def group_of(user: str | None) -> int | None:
    """Return the primary group of another user, to run a command with it and with none of ours."""
    return None if user is None else pwd.getpwnam(user).pw_gid


def _end(pid: int, stop_signal: signal.Signals, is_gone: Callable[[], bool]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, stop_signal)
        if not wait_until(is_gone, 15.0):
            os.kill(pid, signal.SIGKILL)
            wait_until(is_gone, 15.0)

"""The workers of a run: kept alive, taken out to be treated badly, and how they ended."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from tests.chaos.stand import Stand
from tests.system.processes import Process

FAULTY = (str(Path(__file__).with_name("faulty_worker.py")),)


@dataclass(frozen=True)
class End:
    """How a worker ended after a signal.

    Parameters
    ----------
    number
        Of the signal; 0: it had ended by itself before.
    had_begun
        Whether it had acquired a partition by then.
    """

    worker: str
    number: int
    exit_code: int
    had_begun: bool

    @classmethod
    def of(cls, process: Process, number: int, within_s: float = 60.0) -> End:
        """Wait for the end of a worker that was told to, as :func:`tell` said."""
        return cls(process.log.stem, number, process.wait(within_s), process.said("partition.acquired"))

    @property
    def is_due(self) -> bool:
        """Whether a worker may end like this."""
        if self.number == signal.SIGTERM:
            # One that had only just been started ends as any program does that does not listen yet
            return self.exit_code == 0 or (self.exit_code == -signal.SIGTERM and not self.had_begun)
        return self.number > 0 and self.exit_code == -self.number


def tell(process: Process, number: signal.Signals) -> int:
    """Send a worker a signal; return its number, or 0 if the worker had ended by itself before."""
    by_itself = process.exit_code is not None
    process.signal(number)
    return 0 if by_itself else number


class Pool:
    """The workers, and who starts them again when they end: what Kubernetes does in a factory.

    Parameters
    ----------
    wanted
        How many there should be.
    note
        Told when a worker ended that nobody had told to.
    """

    def __init__(self, stand: Stand, wanted: int, note: Callable[[str], None]) -> None:
        self._stand, self._wanted, self._note = stand, wanted, note
        self._living: list[Process] = []
        self._lock = threading.Lock()
        self._count = 0
        self._stopping = threading.Event()
        self.keeping = threading.Event()
        self.ended: list[str] = []
        self._read: dict[Path, int] = {}
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self.keeping.set()

    def start(self) -> None:
        """Start the workers."""
        for _ in range(self._wanted):
            self.add()
        self._thread.start()

    def add(self) -> Process:
        """Start one more worker."""
        with self._lock:
            process = self.extra()
            self._living.append(process)
            return process

    def extra(self, *options: str) -> Process:
        """Start a worker that is not kept alive; with options, a faulty one."""
        self._count += 1
        name = f"worker-{self._count:03}"
        if options:
            return self._stand.site.start(name, *options, f"--name={name}", program=FAULTY)
        return self._stand.site.worker(name)

    def take(self, nth: float) -> Process:
        """Take a worker out, to be treated badly; ``nth`` in [0, 1) says which."""
        while True:
            with self._lock:
                if self._living:
                    return self._living.pop(int(nth * len(self._living)))
            time.sleep(0.1)

    def give_back(self, process: Process) -> None:
        """Keep a worker again."""
        with self._lock:
            self._living.append(process)

    def drain(self) -> list[End]:
        """Stop all workers in order and start none; return how they ended."""
        self.keeping.clear()
        with self._lock:
            living, self._living = self._living, []
        told = [tell(process, signal.SIGTERM) for process in living]
        return [End.of(process, number, 90) for process, number in zip(living, told, strict=True)]

    def refill(self) -> None:
        """Start workers again after :meth:`drain`."""
        for _ in range(self._wanted):
            self.add()
        self.keeping.set()

    def stop(self) -> None:
        """Keep nothing alive any more."""
        self._stopping.set()
        self._thread.join()

    def count(self, words: str) -> int:
        """Return how often the workers' logs say something."""
        return sum(log.read_text(errors="replace").count(words) for log in self._stand.folder.glob("worker-*.log"))

    def warnings(self) -> Counter[str]:
        """Return what the workers warned of since this was asked last, by event."""
        found: Counter[str] = Counter()
        for log in self._stand.folder.glob("worker-*.log"):
            with log.open("rb") as file:
                file.seek(self._read.get(log, 0))
                whole, _, _ = file.read().rpartition(b"\n")
            self._read[log] = self._read.get(log, 0) + len(whole) + bool(whole)
            for line in whole.splitlines():
                with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
                    said = orjson.loads(line)
                    # Words of the client library about its connections would drown ours
                    if said["level"] in {"warning", "error", "critical"} and " " not in said["event"]:
                        found[said["event"]] += 1
        return found

    def _supervise(self) -> None:
        while not self._stopping.wait(0.3):
            if not self.keeping.is_set():
                continue
            with self._lock:
                gone = [process for process in self._living if process.exit_code is not None]
                self._living = [process for process in self._living if process not in gone]
            for process in gone:
                how = (
                    f"{process.log.stem} ended by itself with exit code {process.exit_code}: {_last_line(process.log)}"
                )
                self.ended.append(how)
                self._note(how)
                self.add()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""

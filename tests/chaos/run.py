"""One run: a plant sends, faults come, the plant stops, the workers catch up, the tables are compared."""

from __future__ import annotations

import random
import shutil
import signal
import statistics
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from pipeline.core.errors import PipelineError
from pipeline.verify import verify
from tests.chaos.comparison import Comparison, compare
from tests.chaos.faults import KINDS, SETTLE_S, Kind, Scene
from tests.chaos.side import SideReport, SideTopic
from tests.chaos.stand import MAIN, SIDE, Pool, Stand, plant

_RECOVERED_WITHIN_S = 45.0


@dataclass(frozen=True)
class Options:
    """What a run is like.

    Parameters
    ----------
    seed
        Of everything that is drawn.
    seconds, messages, faults
        The plant sends at least so long and so much, and until so many faults were injected.
    rate, machines, partitions, workers
        Of plant, topic and group.
    only
        Kinds to choose from; empty: all.
    calm
        Share of the faults that the next one waits for, until everything is well again.
    disk_gb
        Size of the database's file system.
    """

    seed: int
    seconds: float = 180.0
    messages: int = 0
    faults: int = 0
    rate: float = 2_500.0
    machines: int = 600
    partitions: int = 8
    workers: int = 2
    only: tuple[str, ...] = ()
    calm: float = 0.6
    disk_gb: int = 30


@dataclass
class Injected:
    """A fault as it happened; seconds since the run began unless said otherwise."""

    number: int
    kind: str
    at_s: float
    ended_s: float = 0.0
    facts: list[str] = field(default_factory=list)
    error: str = ""
    committed_s: float | None = None
    caught_up_s: float | None = None
    disturbed: bool = False
    seen: dict[str, int] = field(default_factory=dict)


@dataclass
class Report:
    """What a run found."""

    options: Options
    faults: list[Injected]
    ended: dict[str, int]
    exit_codes: list[int]
    catch_up_s: float | None
    comparison: Comparison | None
    side: SideReport | None
    verified: dict[str, Any]
    seconds: float
    trouble: list[str]

    @property
    def holds(self) -> bool:
        """Whether nothing is lost, doubled or wrong, and all was caught up in time."""
        return not self.trouble

    @property
    def summary(self) -> dict[str, Any]:
        """All of it, as JSON can say it."""
        return {"holds": self.holds, "kinds": by_kind(self.faults), **asdict(self)}


class Run:
    """One run over a stand of its own."""

    def __init__(self, options: Options, folder: Path) -> None:
        folder = folder.resolve()
        shutil.rmtree(folder, ignore_errors=True)
        self._options = options
        self._random = random.Random(options.seed)
        self._began = time.monotonic()
        self._stand = Stand(folder, options.partitions, options.disk_gb)
        self._pool = Pool(self._stand, options.workers, lambda text: self._say(f"worker {text}"))
        self._faults: list[Injected] = []
        self._locks = {name: threading.Lock() for name in ("broker", "database", "workers")}
        self._threads: list[threading.Thread] = []
        self._trouble: list[str] = []
        self._ledger = folder / "ledger.csv"

    def go(self) -> Report:
        """Do all of it; the stand is ended in any case."""
        try:
            self._stand.start({"POSTGRES__CONNECT_TIMEOUT_S": 3})
            self._side = SideTopic(self._stand.direct)
            self._say(
                f"broker {self._stand.direct}, database {self._stand.dsn.rpartition('@')[2]}; {self._stand.folder}"
            )
            self._pool.start()
            sender = plant(self._stand, self._ledger, self._options.rate, self._options.machines, self._options.seed)
            self._wait_for_start()
            self._inject(sender)
            return self._judge(sender)
        finally:
            self._stand.end()

    # -- faults ------------------------------------------------------------------------------------------------------

    def _wait_for_start(self) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            marks = self._stand.marks()
            if (
                len([1 for (topic, _), (mark, _) in marks.items() if topic == MAIN and mark > 0])
                == self._options.partitions
            ):
                return
            time.sleep(0.25)
        raise TimeoutError("the workers did not begin; see " + str(self._stand.folder))

    def _inject(self, sender: Any) -> None:
        options, started = self._options, time.monotonic()
        for kind in self._draw():
            if self._is_enough(started):
                break
            if sender.exit_code is not None:
                raise RuntimeError(f"the plant ended by itself: {sender.last_words()}")
            calm = self._random.random() < options.calm
            thread = self._start(kind)
            if calm:
                thread.join()
                time.sleep(self._random.uniform(0.2, 1.5))
            else:
                time.sleep(self._random.uniform(0.5, 3.0))
        for thread in self._threads:
            thread.join()

    def _is_enough(self, started: float) -> bool:
        options = self._options
        if len(self._faults) < options.faults or time.monotonic() - started < options.seconds:
            return False
        return not options.messages or self._records() >= options.messages

    def _records(self) -> int:
        try:
            return sum(self._stand.ends().values())
        except PipelineError:
            return 0

    def _draw(self) -> Iterator[str]:
        """Yield kinds, round after round, each round with all of them."""
        possible = {
            name: kind
            for name, kind in KINDS.items()
            if (not self._options.only or name in self._options.only)
            and (name != "database_disk_full" or self._stand.disk is not None)
        }
        while True:
            batch = [name for name, kind in possible.items() for _ in range(kind.weight)]
            if not self._faults:
                # In the first round each kind once, so that a short run has them all
                batch = list(possible)
            self._random.shuffle(batch)
            yield from (name for name in batch if self._records() <= possible[name].most_records)

    def _start(self, name: str) -> threading.Thread:
        kind = KINDS[name]
        for lock in sorted(kind.locks):
            self._locks[lock].acquire()
        for fault in self._faults:
            fault.disturbed |= fault.caught_up_s is None
        fault = Injected(len(self._faults) + 1, name, self._now())
        fault.disturbed = any(thread.is_alive() for thread in self._threads)
        self._faults.append(fault)
        seed = self._random.randrange(2**32)
        thread = threading.Thread(target=self._run, args=(fault, kind, random.Random(seed)), daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _run(self, fault: Injected, kind: Kind, chance: random.Random) -> None:
        scene = Scene(self._stand, self._pool, self._side, chance, fault.facts.append)
        before = self._marks()
        since: float | None = None
        try:
            since = kind.run(scene)
        except Exception as error:  # noqa: BLE001  # a fault that fails is a finding, and must let the others go on
            fault.error = f"{type(error).__name__}: {error}"
            self._trouble.append(f"fault {fault.number} {fault.kind}: {fault.error}")
        finally:
            fault.ended_s = self._now()
            for lock in kind.locks:
                self._locks[lock].release()
        if since is not None:
            self._recover(fault, before if kind.locks == KINDS["worker_kill"].locks else self._marks(), since)
        fault.seen = dict(self._pool.warnings())
        self._say(_line(fault))

    def _recover(self, fault: Injected, before: dict[tuple[str, int], tuple[int, int]], since: float) -> None:
        """Measure until every partition has committed again, and until what had come in by then is stored."""
        ends: dict[tuple[str, int], int] | None = None
        deadline = time.monotonic() + _RECOVERED_WITHIN_S
        while time.monotonic() < deadline and fault.caught_up_s is None:
            try:
                ends = ends or self._stand.ends()
                marks = self._stand.marks()
            except (PipelineError, psycopg.Error):
                time.sleep(0.2)
                continue
            if fault.committed_s is None and all(marks.get(at, (0, 0))[0] > before.get(at, (0, 0))[0] for at in ends):
                fault.committed_s = round(time.monotonic() - since, 2)
            if fault.committed_s is not None and all(marks[at][0] >= end for at, end in ends.items()):
                fault.caught_up_s = round(time.monotonic() - since, 2)
            time.sleep(0.2)

    def _marks(self) -> dict[tuple[str, int], tuple[int, int]]:
        for _ in range(150):
            try:
                return self._stand.marks()
            except psycopg.Error:
                time.sleep(0.2)
        return {}

    # -- the end -----------------------------------------------------------------------------------------------------

    def _judge(self, sender: Any) -> Report:
        sender.signal(signal.SIGTERM)
        if sender.wait(60):
            self._trouble.append(f"the plant failed: {sender.last_words()}")
        catch_up_s = self._catch_up()
        self._pool.stop()
        codes = self._pool.drain()
        self._say(f"workers stopped with {codes}; comparing")
        comparison = compare(
            self._ledger, self._stand.dsn, MAIN, self._stand.site.group, self._stand.folder / "compare"
        )
        with self._stand.connect() as connection:
            side = self._side.report(connection)
        verified = verify(self._ledger, self._stand.dsn, group=self._stand.site.group)
        # A worker that had only just been started ends as any program does that does not listen yet
        self._trouble += [] if set(codes) <= {0, -signal.SIGTERM} else [f"exit codes {codes}"]
        self._trouble += [] if comparison.holds else ["the tables differ from the ledger"]
        self._trouble += side.wrong
        self._trouble += [] if verified.holds else [f"pipeline verify: {verified.examples}"]
        return Report(
            self._options, self._faults, dict(self._pool.ended), codes, catch_up_s, comparison, side, verified.summary,
            round(self._now(), 1), self._trouble,
        )  # fmt: skip

    def _catch_up(self) -> float | None:
        began = time.monotonic()
        while time.monotonic() - began < SETTLE_S:
            if self._stand.behind(MAIN, SIDE) == 0:
                return round(time.monotonic() - began, 2)
            time.sleep(0.2)
        self._trouble.append(
            f"not caught up within {SETTLE_S:.0f} s: {self._stand.behind(MAIN, SIDE):,} records behind"
        )
        while time.monotonic() - began < 4 * SETTLE_S and self._stand.behind(MAIN, SIDE):
            time.sleep(0.5)
        return None

    def _now(self) -> float:
        return round(time.monotonic() - self._began, 2)

    def _say(self, text: str) -> None:
        print(f"{self._now():8.1f}  {text}", flush=True)


def by_kind(faults: Collection[Injected]) -> dict[str, dict[str, Any]]:
    """Return for each kind how often it was injected and failed, and recovery times, s.

    Of the recovery times only those count that were over before the next fault began: their number, median and maximum.
    """
    found: dict[str, dict[str, Any]] = {}
    for kind in sorted({fault.kind for fault in faults}):
        mine = [fault for fault in faults if fault.kind == kind]
        alone = [fault for fault in mine if not fault.disturbed and fault.committed_s and fault.caught_up_s]
        found[kind] = {
            "count": len(mine),
            "failed": sum(1 for fault in mine if fault.error),
            "alone": len(alone),
            "commits_again_s": _spread([fault.committed_s or 0.0 for fault in alone]),
            "caught_up_s": _spread([fault.caught_up_s or 0.0 for fault in alone]),
        }
    return found


def _spread(values: list[float]) -> dict[str, float] | None:
    return {"p50": statistics.median(values), "max": max(values)} if values else None


def _line(fault: Injected) -> str:
    recovered = (
        f"commits again {fault.committed_s} s, caught up {fault.caught_up_s} s"
        if fault.committed_s is not None
        else "-"
    )
    seen = ", ".join(f"{event} × {count}" for event, count in sorted(fault.seen.items()))
    parts = [f"at {fault.at_s:.1f}", *fault.facts, fault.error, recovered, seen]
    return f"#{fault.number} {fault.kind}: " + "; ".join(part for part in parts if part)

"""One run: a plant sends, faults come, the plant stops, the workers catch up, the tables are compared."""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from pipeline.core.errors import PipelineError
from pipeline.verifying.verify import verify
from tests.chaos.comparison import compare
from tests.chaos.faults import KINDS, Kind
from tests.chaos.judging import RECOVERED_WITHIN_S, judge
from tests.chaos.pool import Pool
from tests.chaos.report import Injected, Options, Report, counted
from tests.chaos.scene import Scene
from tests.chaos.side import SideTopic
from tests.chaos.stand import MAIN, SIDE, Stand, plant

SETTLE_S = 60.0
"""In which everything must be caught up once the plant has stopped."""


class Run:
    """One run over a stand of its own."""

    def __init__(self, options: Options, folder: Path) -> None:
        folder = folder.resolve()
        shutil.rmtree(folder, ignore_errors=True)
        self._options = options
        self._random = random.Random(options.seed)
        self._began = time.monotonic()
        self._stand = Stand(folder, options.partitions, options.disk_gb)
        self._pool = Pool(self._stand, options.workers, self._say)
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
        if len(counted(self._faults)) < options.faults or time.monotonic() - started < options.seconds:
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
        for fault, thread in zip(self._faults, self._threads, strict=True):
            # One that nobody watches any more was alone, also if it never recovered
            fault.disturbed |= thread.is_alive() and fault.caught_up_s is None
        fault = Injected(len(self._faults) + 1, name, self._now())
        fault.disturbed = any(thread.is_alive() for thread in self._threads)
        self._faults.append(fault)
        seed = self._random.randrange(2**32)
        thread = threading.Thread(target=self._run, args=(fault, kind, random.Random(seed)), daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _run(self, fault: Injected, kind: Kind, chance: random.Random) -> None:
        scene = Scene(self._stand, self._pool, self._side, chance, fault)
        before = self._marks()
        since: float | None = None
        try:
            since = kind.run(scene)
        except Exception as error:  # noqa: BLE001  # a fault that fails is a finding, and must let the others go on
            fault.error = f"{type(error).__name__}: {error}"
        finally:
            fault.ended_s = self._now()
            for lock in kind.locks:
                self._locks[lock].release()
        if since is not None:
            self._recover(fault, before if kind.from_begin else self._marks(), since)
        fault.seen = dict(self._pool.warnings())
        self._say(str(fault))

    def _recover(self, fault: Injected, before: dict[tuple[str, int], tuple[int, int]], since: float) -> None:
        """Measure until every partition has committed again, and until what had come in by then is stored."""
        ends: dict[tuple[str, int], int] | None = None
        deadline = time.monotonic() + RECOVERED_WITHIN_S
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
        stopped = self._pool.drain()
        self._say(f"workers stopped with {[end.exit_code for end in stopped]}; comparing")
        comparison = compare(
            self._ledger, self._stand.dsn, MAIN, self._stand.site.group, self._stand.folder / "compare"
        )
        with self._stand.connect() as connection:
            side = self._side.report(connection)
        report = Report(
            self._options, self._faults, list(self._pool.ended), stopped, catch_up_s, comparison, side,
            self._verify(),
            round(self._now(), 1), self._trouble,
        )  # fmt: skip
        report.trouble += judge(report)
        return report

    def _verify(self) -> dict[str, Any]:
        """Let the product's own command judge too."""
        verified = verify(self._ledger, self._stand.dsn, group=self._stand.site.group)
        self._trouble += [] if verified.holds else [f"pipeline verify: {verified.examples}"]
        return verified.summary

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

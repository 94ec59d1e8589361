"""The faults, by kind: what each does to the stand, and when its recovery begins to count.

A fault does its harm and ends it, and returns the moment from which on recovery is measured: for workers when it began, for
services when they were back.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from tests.chaos.backups import Backup
from tests.chaos.proxy import Proxy, Trouble
from tests.chaos.side import Gap, SideTopic
from tests.chaos.stand import LOGIN, SIDE, Pool, Stand
from tests.system.processes import Process

FROZEN_S = (6.5, 9.5)
"""Longer than the session timeout of 6 s."""

SETTLE_S = 60.0
"""In which everything must be caught up once the plant has stopped."""

PATIENCE_S = 120.0
"""How long a fault waits for what it needs to go on, while others are at work."""


@dataclass
class Scene:
    """What a fault gets to work with; ``note`` takes a fact worth telling."""

    stand: Stand
    pool: Pool
    side: SideTopic
    random: random.Random
    note: Callable[[str], None]

    def pause(self, least_s: float, most_s: float) -> float:
        """Wait for a random while; return how long, s."""
        duration_s = self.random.uniform(least_s, most_s)
        time.sleep(duration_s)
        return duration_s

    def wait(self, until: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
        """Wait for a condition; what the services do not answer counts as not yet."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                if until():
                    return
            except psycopg.Error:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {within_s:.0f} s: {what}")
            time.sleep(0.25)


def kill_worker(scene: Scene) -> float:
    victim = scene.pool.take(scene.random.random())
    victim.signal(signal.SIGKILL)
    began = time.monotonic()
    scene.pause(0, 2)
    scene.pool.add()
    return began


def worker_dies_inside(scene: Scene) -> float:
    """A worker kills itself in the middle of its work: at any of the places where that could do most harm."""
    place = scene.random.randint(1, 150)
    worker = scene.pool.extra(f"--die-at={place}")
    scene.wait(lambda: worker.exit_code is not None, f"the worker's death at its place {place}")
    scene.note(f"at its place {place}, exit code {worker.exit_code}")
    return time.monotonic()


def stop_worker(scene: Scene) -> float:
    victim = scene.pool.take(scene.random.random())
    began = time.monotonic()
    code = victim.stop()
    scene.note(f"exit code {code} after {time.monotonic() - began:.1f} s")
    scene.pool.add()
    return began


def freeze_worker(scene: Scene) -> float:
    victim = scene.pool.take(scene.random.random())
    began = time.monotonic()
    victim.signal(signal.SIGSTOP)
    scene.note(f"frozen for {scene.pause(*FROZEN_S):.1f} s")
    victim.signal(signal.SIGCONT)
    scene.pool.give_back(victim)
    return began


def storm(scene: Scene) -> float:
    """Workers come and go before the group has settled."""
    came: list[Process] = []
    for _ in range(scene.random.randint(3, 4)):
        came.append(scene.pool.extra())
        scene.pause(0.2, 1.5)
    codes = []
    for process in came:
        scene.pause(0, 1.5)
        process.signal(scene.random.choice((signal.SIGTERM, signal.SIGKILL)))
    codes = [process.wait(60) for process in came]
    scene.note(f"{len(came)} came and went, exit codes {codes}")
    return time.monotonic()


def kill_broker(scene: Scene) -> float:
    scene.stand.broker.kill()
    away = scene.pause(0.2, 3)
    began = time.monotonic()
    scene.stand.broker.start()
    scene.note(f"away for {away:.1f} s and its start of {time.monotonic() - began:.1f} s")
    return time.monotonic()


def stop_database(scene: Scene) -> float:
    number = scene.random.choice((signal.SIGQUIT, signal.SIGKILL))
    scene.stand.stop_database(number)
    away = scene.pause(0.2, 4)
    scene.stand.postgres.start()
    scene.note(f"{'immediate stop' if number == signal.SIGQUIT else 'kill -9'}, away for {away:.1f} s and recovery")
    return time.monotonic()


def terminate_backends(scene: Scene) -> float:
    ended = 0
    for _ in range(scene.random.randint(2, 6)):
        with scene.stand.connect() as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE usename = %s ORDER BY 1", [LOGIN]
            ).fetchall()
            for (pid,) in found:
                if scene.random.random() < 0.5:
                    connection.execute("SELECT pg_terminate_backend(%s)", [pid])
                    ended += 1
        scene.pause(0.05, 1)
    scene.note(f"{ended} connections ended")
    return time.monotonic()


def restore_backup(scene: Scene) -> float:
    """The database goes back to a base backup; what came after it is folded again."""
    stand = scene.stand
    backup = Backup(stand.dsn)
    taken = time.monotonic()
    scene.pause(3, 10)
    before = stand.marks()
    stand.stop_database(signal.SIGQUIT)
    age = time.monotonic() - taken
    backup.put_back()
    stand.postgres.start()
    back = time.monotonic()
    gone = sum(effects - stand.marks().get(source, (0, 0))[0] for source, (effects, _) in before.items())
    scene.note(f"a backup {age:.1f} s old: the marks lost about {gone:,} records")
    return back


def read_only(scene: Scene) -> float:
    with scene.stand.connect() as connection:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
    lasted = scene.pause(1, 6)
    with scene.stand.connect() as connection:
        connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        connection.execute("SELECT pg_reload_conf()")
    scene.note(f"for {lasted:.1f} s")
    return time.monotonic()


def fill_disk(scene: Scene) -> float:
    """No block is left on the database's file system, for rows and write-ahead log alike."""
    stand = scene.stand
    assert stand.disk is not None
    before = scene.pool.count("No space left on device")
    taken = stand.disk.fill()
    lasted = scene.pause(1.5, 6)
    told = scene.pool.count("No space left on device") - before
    stand.disk.empty()
    died = not stand.database_answers()
    if died:
        # Without room for its write-ahead log the server ends, as it should
        stand.postgres.kill()
        stand.postgres.start()
    scene.note(
        f"{taken >> 20} MB taken for {lasted:.1f} s, workers were told {told} times"
        + (", the server ended and was started again" if died else "")
    )
    return time.monotonic()


def fold_fails_once(scene: Scene) -> float:
    return _failing_worker(scene)


def fold_fails_for_ever(scene: Scene) -> float:
    return _failing_worker(scene, "--for-ever")


def _failing_worker(scene: Scene, *more: str) -> float:
    worker = scene.pool.extra(f"--fail-after={scene.random.randint(1, 6)}", *more)
    word = "record.poisoned" if more else "fold.failed"
    try:
        scene.wait(lambda: worker.said(word) or worker.exit_code is not None, f"{word} in {worker.log.name}")
    finally:
        scene.pause(0.5, 3)
        code = worker.stop() if worker.exit_code is None else worker.exit_code
    scene.note(f"{word}: {worker.said(word)}, exit code {code}")
    return time.monotonic()


def other_version(scene: Scene) -> float:
    """A worker of the next version of the fold takes part for a while: neither can use the other's snapshots."""
    worker = scene.pool.extra("--ahead=1")
    scene.wait(lambda: worker.said("partition.acquired") or worker.exit_code is not None, "the other version acquires")
    scene.pause(3, 8)
    scene.note(f"acquired partitions, exit code {worker.stop()}")
    return time.monotonic()


def move_log_start(scene: Scene) -> float:
    """While no worker runs, retention deletes what none of them has read."""
    side, pool = scene.side, scene.pool
    _settle_side(scene, 40)
    codes = pool.drain()
    marks = scene.stand.marks()
    first = [marks[SIDE, partition] for partition in range(len(side.end))]
    side.send(60)
    starts = [effects + scene.random.randint(5, 55) for effects, _ in first]
    side.delete_before(starts)
    for partition, ((effects, windows), start) in enumerate(zip(first, starts, strict=True)):
        assert effects == windows, "a stopped worker stores everything"
        side.gaps.append(Gap(side.life, partition, effects, start))
    pool.refill()
    back = time.monotonic()
    scene.wait(lambda: scene.stand.behind(SIDE) == 0, "the side topic is stored behind its gap")
    scene.note(
        f"gaps {[(effects, start) for (effects, _), start in zip(first, starts, strict=True)]}, exit codes {codes}"
    )
    return back


def recreate_topic(scene: Scene) -> float:
    """A topic is deleted and made anew, with a shorter or a longer log; under running workers, or while none runs."""
    side = scene.side
    _settle_side(scene, max(0, 60 - min(side.end)))
    longer, unseen = scene.random.random() < 0.5, scene.random.random() < 0.5
    count = max(side.end) + 30 if longer else 20
    if unseen:
        scene.pool.drain()
    side.recreate()
    side.send(count)
    began = time.monotonic()
    if unseen:
        scene.pool.refill()
    scene.wait(lambda: _read_anew(scene), "the new life of the topic is stored")
    how = f"{'longer' if longer else 'shorter'}, {'while no worker ran' if unseen else 'under the workers'}"
    scene.note(f"{how}: noticed and stored after {time.monotonic() - began:.1f} s")
    return time.monotonic()


def _settle_side(scene: Scene, count: int) -> None:
    scene.side.send(count)
    scene.wait(lambda: scene.stand.behind(SIDE) == 0, "the side topic is stored")


def _read_anew(scene: Scene) -> bool:
    marks = scene.stand.marks()
    return all(marks[SIDE, partition] == (end, end) for partition, end in enumerate(scene.side.end))


def _trouble(which: str, trouble: Trouble, least_s: float, most_s: float) -> Callable[[Scene], float]:
    def run(scene: Scene) -> float:
        proxy: Proxy = getattr(scene.stand, f"{which}_proxy")
        times = scene.random.randint(1, 4) if trouble is Trouble.RESET else 1
        hit = 0
        for _ in range(times):
            hit += proxy.begin(trouble, scene.random.uniform(0.02, 0.3) if trouble is Trouble.LATENCY else 0.0)
            lasted = scene.pause(least_s, most_s)
        proxy.heal()
        scene.note(f"{hit} connections, {lasted:.1f} s")
        return time.monotonic()

    return run


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Parameters
    ----------
    run
        Does it.
    locks
        What no other fault may touch meanwhile.
    weight
        How often it comes in a round of all kinds.
    most_records
        Log length beyond which it is not injected any more.
    """

    run: Callable[[Scene], float]
    locks: frozenset[str]
    weight: int = 1
    most_records: int = 2**62


WORKERS, BROKER, DATABASE = frozenset({"workers"}), frozenset({"broker"}), frozenset({"database"})
EVERYTHING = WORKERS | BROKER | DATABASE

KINDS: dict[str, Kind] = {
    "worker_kill": Kind(kill_worker, WORKERS, weight=3),
    "worker_term": Kind(stop_worker, WORKERS, weight=2),
    "worker_freeze": Kind(freeze_worker, WORKERS, weight=2),
    "worker_dies_inside": Kind(worker_dies_inside, WORKERS),
    "worker_storm": Kind(storm, WORKERS),
    "broker_kill": Kind(kill_broker, BROKER),
    "database_stop": Kind(stop_database, DATABASE, weight=2),
    "database_terminate": Kind(terminate_backends, DATABASE, weight=2),
    "database_restore": Kind(restore_backup, DATABASE, weight=2),
    "database_read_only": Kind(read_only, DATABASE),
    "database_disk_full": Kind(fill_disk, DATABASE),
    "fold_fails_once": Kind(fold_fails_once, WORKERS),
    "fold_fails_for_ever": Kind(fold_fails_for_ever, WORKERS),
    # Its workers fold from the log's start: the longer the log, the more that is
    "other_version": Kind(other_version, WORKERS, most_records=1_500_000),
    "log_start_moved": Kind(move_log_start, EVERYTHING),
    "topic_recreated": Kind(recreate_topic, EVERYTHING),
    "broker_latency": Kind(_trouble("broker", Trouble.LATENCY, 2, 6), BROKER),
    "broker_reset": Kind(_trouble("broker", Trouble.RESET, 0.2, 1.5), BROKER),
    "broker_half_open": Kind(_trouble("broker", Trouble.HALF_OPEN, 2, 10), BROKER),
    "broker_stall": Kind(_trouble("broker", Trouble.STALL, 2, 10), BROKER),
    "broker_cut": Kind(_trouble("broker", Trouble.CUT, 1, 6), BROKER),
    "database_latency": Kind(_trouble("database", Trouble.LATENCY, 2, 6), DATABASE),
    "database_reset": Kind(_trouble("database", Trouble.RESET, 0.2, 1.5), DATABASE),
    "database_half_open": Kind(_trouble("database", Trouble.HALF_OPEN, 2, 10), DATABASE),
    "database_stall": Kind(_trouble("database", Trouble.STALL, 2, 10), DATABASE),
    "database_cut": Kind(_trouble("database", Trouble.CUT, 1, 6), DATABASE),
}

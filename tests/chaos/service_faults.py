"""What happens to broker and database, and to the connections to them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from tests.chaos.backups import Backup
from tests.chaos.proxy import Proxy, Trouble
from tests.chaos.scene import Scene
from tests.chaos.stand import LOGIN


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
    scene.had_effect(ended > 0)
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
    after = stand.marks()
    gone = sum(effects - after.get(source, (0, 0))[0] for source, (effects, _) in before.items())
    scene.had_effect(gone > 0)
    scene.note(f"a backup {age:.1f} s old: the marks lost about {gone:,} records")
    return back


def read_only(scene: Scene) -> float:
    refusal = "in a read-only transaction"
    before = scene.pool.count(refusal)
    with scene.stand.connect() as connection:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
    lasted = scene.pause(1, 6)
    with scene.stand.connect() as connection:
        connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        connection.execute("SELECT pg_reload_conf()")
    back = time.monotonic()
    told = scene.pool.count(refusal) - before
    scene.had_effect(told > 0)
    scene.note(f"for {lasted:.1f} s, workers were told {told} times")
    return back


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
    scene.had_effect(told > 0 or died)
    scene.note(
        f"{taken >> 20} MB taken for {lasted:.1f} s, workers were told {told} times"
        + (", the server ended and was started again" if died else "")
    )
    return time.monotonic()


def disturb(which: str, trouble: Trouble, least_s: float, most_s: float) -> Callable[[Scene], float]:
    """Return the fault of a proxy that misbehaves: of the one before the broker or the database."""

    def run(scene: Scene) -> float:
        proxy: Proxy = getattr(scene.stand, f"{which}_proxy")
        times = scene.random.randint(1, 4) if trouble is Trouble.RESET else 1
        hit = 0
        for _ in range(times):
            hit += proxy.begin(trouble, scene.random.uniform(0.02, 0.3) if trouble is Trouble.LATENCY else 0.0)
            lasted = scene.pause(least_s, most_s)
        proxy.heal()
        scene.had_effect(hit > 0)
        scene.note(f"{hit} connections, {lasted:.1f} s")
        return time.monotonic()

    return run

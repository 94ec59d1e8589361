"""What happens to workers: they are killed, stopped, frozen, come and go, fail in the fold, or are of another version."""

from __future__ import annotations

import contextlib
import signal
import time

from tests.chaos.pool import End, tell
from tests.chaos.scene import PATIENCE_S, Scene
from tests.system.processes import Process

FROZEN_S = (6.5, 9.5)
"""Longer than the session timeout of 6 s."""

ATTEMPTS = 3
"""Workers that take part, one after the other, until one does what it is there for."""


def kill(scene: Scene) -> float:
    victim = scene.pool.take(scene.random.random())
    began = time.monotonic()
    scene.ended(End.of(victim, tell(victim, signal.SIGKILL)))
    scene.pause(0, 2)
    scene.pool.add()
    return began


def die_inside(scene: Scene) -> float:
    """A worker kills itself in the middle of its work: at any of the places where that could do most harm."""
    place = scene.random.randint(1, 150)
    worker = scene.pool.extra(f"--die-at={place}")
    scene.wait(lambda: worker.exit_code is not None, f"the worker's death at its place {place}")
    dead = time.monotonic()
    scene.note(f"at its place {place}, {scene.ended(End.of(worker, signal.SIGKILL))}")
    return dead


def stop(scene: Scene) -> float:
    victim = scene.pool.take(scene.random.random())
    began = time.monotonic()
    how = scene.ended(_stopped(victim))
    scene.note(f"{how} after {time.monotonic() - began:.1f} s")
    scene.pool.add()
    return began


def freeze(scene: Scene) -> float:
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
    told: list[int] = []
    for process in came:
        scene.pause(0, 1.5)
        told.append(tell(process, scene.random.choice((signal.SIGTERM, signal.SIGKILL))))
    how = scene.ended(*map(End.of, came, told))
    scene.note(f"{len(came)} came and went, {how}")
    return time.monotonic()


def fail_once(scene: Scene) -> float:
    return _take_part(scene, "fold.failed", (0.5, 3), f"--fail-after={scene.random.randint(1, 6)}")


def fail_for_ever(scene: Scene) -> float:
    return _take_part(scene, "record.poisoned", (0.5, 3), f"--fail-after={scene.random.randint(1, 6)}", "--for-ever")


def run_other_version(scene: Scene) -> float:
    """A worker of the next version of the fold takes part for a while: neither can use the other's snapshots."""
    return _take_part(scene, "partition.acquired", (3, 8), "--ahead=1")


def _take_part(scene: Scene, word: str, longer_s: tuple[float, float], *options: str) -> float:
    """One more worker takes part until it has said a word, and a while longer.

    A rebalance may take from it what it was about to fail on, and the others fold that: then another has a try.
    """
    if not any(_has_part(scene, word, longer_s, *options) for _ in range(ATTEMPTS)):
        raise TimeoutError(f"none of {ATTEMPTS} workers said {word}")
    return time.monotonic()


def _has_part(scene: Scene, word: str, longer_s: tuple[float, float], *options: str) -> bool:
    worker = scene.pool.extra(*options)
    with contextlib.suppress(TimeoutError):
        scene.wait(lambda: worker.said(word) or worker.exit_code is not None, word, PATIENCE_S / ATTEMPTS)
    scene.pause(*longer_s)
    how = scene.ended(_stopped(worker))
    said = worker.said(word)
    scene.had_effect(said)
    scene.note(f"{word}: {said}, {how}")
    return said


def _stopped(worker: Process) -> End:
    return End.of(worker, tell(worker, signal.SIGTERM))

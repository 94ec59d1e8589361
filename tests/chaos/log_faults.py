"""What happens to the log of the side topic: retention moves its start, or the topic is made anew."""

from __future__ import annotations

import time

from tests.chaos.scene import Scene
from tests.chaos.side import Gap
from tests.chaos.stand import SIDE


def move_start(scene: Scene) -> float:
    """While no worker runs, retention deletes what none of them has read."""
    side, pool = scene.side, scene.pool
    _settle_side(scene, 40)
    how = scene.ended(*pool.drain())
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
    scene.note(f"gaps {[(effects, start) for (effects, _), start in zip(first, starts, strict=True)]}, {how}")
    return back


def recreate_topic(scene: Scene) -> float:
    """A topic is deleted and made anew, with a shorter or a longer log; under running workers, or while none runs."""
    side = scene.side
    _settle_side(scene, max(0, 60 - min(side.end)))
    longer, unseen = scene.random.random() < 0.5, scene.random.random() < 0.5
    count = max(side.end) + 30 if longer else 20
    if unseen:
        scene.ended(*scene.pool.drain())
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

"""A replay at work as the terminal shows it: its progress bar, what Ctrl-C does, and how far it is in the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from agents import replay_pool
from pipeline import connections
from pipeline.cli.bars import bars
from pipeline.cli.interrupts import end_on_signals
from pipeline.replaying import replays
from pipeline.replaying.replays import Replay, ReplayState
from pipeline.replaying.stretches import RangeProgress
from pipeline.settings import Settings, load


def of_name(name: str, factory: str | None) -> tuple[Settings, Replay]:
    """Return a replay and the settings that it was begun with, if they are still there."""
    settings = load(factory)
    with connections.database(settings, "pipeline replay") as connection:
        replay = replays.find(connection, name)
    config = replay.options.get("config")
    return (load(factory, config) if config else settings), replay


def run(settings: Settings, replay: Replay) -> ReplayState:
    """Run a replay until it is complete, paused or stopped; return which."""
    end_on_signals()
    try:
        with bars() as show:
            return replay_pool.run(settings, replay, lambda far: show(replay.name, stored(far), total(far)))
    except KeyboardInterrupt:
        sys.stderr.write(f"paused; go on with: pipeline replay resume {replay.name}\n")
        raise


def stored(far: Sequence[RangeProgress]) -> int:
    """Return how many offsets are stored."""
    return total(far) - sum(each.left for each in far)


def total(far: Sequence[RangeProgress]) -> int:
    """Return how many offsets there are to store."""
    return sum(each.end - each.start for each in far)


def state_of(replay: Replay) -> str:
    """Return the state for people: one that runs without anybody at work was interrupted."""
    return "interrupted" if replay.state is ReplayState.RUNNING and not replay.is_alive else replay.state.value


def summary(replay: Replay, far: Sequence[RangeProgress]) -> dict[str, object]:
    """Return all about a replay, for machines."""
    ranges = [asdict(each) | each.source._asdict() for each in far]
    for each in ranges:
        del each["source"]
    return asdict(replay) | {"state": state_of(replay), "stored": stored(far), "total": total(far), "ranges": ranges}

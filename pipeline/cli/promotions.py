"""``pipeline replay promote`` and ``undo``: a replay's rows become the live ones, and not any more."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Annotated

import typer

from pipeline import connections, logs, rules
from pipeline import replay as planning
from pipeline.cli.replay_run import of_name, run
from pipeline.cli.terminal import Factory, Json, ReplayName, print_json
from pipeline.core.errors import SettingsError
from pipeline.replaying import promotion, promotion_checks, promotion_marks, replays
from pipeline.replaying.promotion import Outcome, Projection
from pipeline.replaying.replays import Replay, ReplayState
from pipeline.settings import Settings, load
from pipeline.store.connect import Connection, connect
from pipeline.store.takeover import PROMOTING

Processes = Annotated[int, typer.Option(min=1, max=64, help="Processes that share the partitions.")]
Rate = Annotated[float, typer.Option(min=0, help="Messages per second at most; 0: as fast as it goes.")]

_ROUNDS = 2
_WAIT_S = 30.0


def rebuild(
    projection: Annotated[Projection, typer.Argument(help="What is made anew.")],
    processes: Processes = 2,
    rate: Rate = 0.0,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Make one projection anew from the stored events, while workers run; interrupted, the same command goes on."""
    settings = load(factory)
    name = _rebuilt(projection, settings.site.factory)
    logs.configure("warning", settings.log.format)
    with connections.database(settings, "pipeline rebuild") as connection:
        replay = next(
            (each for each in replays.all_of(connection, settings.site.cluster, settings.group) if each.name == name),
            None,
        )
    if replay is None:
        options = planning.ReplayOptions(stored=True, processes=processes, rate=rate)
        replay = planning.begin(settings, name, options)
    elif replay.state is ReplayState.PROMOTED:
        raise SettingsError(
            f"{projection} were made anew: `pipeline replay undo {name}` turns that back, `pipeline replay drop {name}"
            " --for-good` lets it be done again"
        )
    elif replay.state is ReplayState.STOPPED:
        raise SettingsError(f"the replay {name!r} was stopped for good; `pipeline replay drop {name}` deletes it")
    else:
        planning.go_on(settings, replay)
    if run(settings, replay) is not ReplayState.COMPLETE:
        sys.stderr.write(f"go on with: pipeline rebuild {projection}\n")
        return
    promote(name, projection, factory=factory, json=json)


def _rebuilt(projection: Projection, factory: str) -> str:
    """Return the name of the replay that rebuilds something for a factory's group."""
    whose = "".join(each if each.isascii() and each.isalnum() else "_" for each in factory.lower())
    return f"rebuild_{projection}_{whose}"[:40] if whose else f"rebuild_{projection}"


def promote(
    name: ReplayName,
    only: Annotated[Projection | None, typer.Option(help="Only this part of it.")] = None,
    catch_up: Annotated[
        bool, typer.Option(help="First read what has come since. Else workers fold all of that once more.")
    ] = True,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Make a replay's rows the live ones, while workers run; it catches up with them first. `undo` turns it back."""
    settings, replay = of_name(name, factory)
    if replay.state in {ReplayState.PROMOTED, ReplayState.STOPPED}:
        raise SettingsError(f"the replay {name!r} is {replay.state} already")
    promotion_checks.require_whole(replay)
    replays.require_same(replay, rules.progress(settings, ""))
    with connections.database(settings, "pipeline replay") as connection:
        promotion_checks.require_same_rules(connection, replay)
    # The first may take long, and much comes in meanwhile
    for _ in range(_ROUNDS if catch_up else 0):
        planning.extend(settings, replay)
        state = run(settings, replace(replay, options=replay.options | {"rate": 0}))
        if state is not ReplayState.COMPLETE:
            raise SettingsError(f"the replay {name!r} was {state} before it had caught up with the workers")
    _say(_with_claim(settings, name, lambda c, r: _promote(c, r, only)), "promoted", json=json)


def undo(name: ReplayName, factory: Factory = None, json: Json = False) -> None:
    """Turn the last promotion back; what workers found since then stays."""
    _say(_with_claim(load(factory), name, promotion.undo), "undone", json=json)


def _promote(connection: Connection, replay: Replay, only: Projection | None) -> Outcome:
    deadline = time.monotonic() + _WAIT_S
    while promotion_marks.behind(connection, replay) and time.monotonic() < deadline:
        time.sleep(0.1)
    return promotion.promote(connection, replay, only)


def _with_claim(settings: Settings, name: str, work: Callable[[Connection, Replay], Outcome]) -> Outcome:
    with connect(settings.admin_dsn, autocommit=True, application_name=PROMOTING) as connection:
        replays.find(connection, name)
        replays.claim_alone(connection, name)
        return work(connection, replays.find(connection, name))


def _say(outcome: Outcome, verb: str, *, json: bool) -> None:
    if json:
        print_json(asdict(outcome))
        return
    sys.stdout.write(f"{verb}: promotion {outcome.number}\n")
    for each in outcome.tables:
        sys.stdout.write(f"{each.table}: {each.removed:,} rows replaced, {each.added:,} rows came\n")
    sys.stdout.write(f"event: {outcome.events_superseded:,} superseded, {outcome.events_added:,} added\n")
    if outcome.held_ms:
        sys.stdout.write(f"workers waited {outcome.held_ms:,.0f} ms and fold {outcome.again:,} records again\n")

"""``pipeline replay``: topics once more, into a shadow beside the live tables."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from agents import replay_pool
from pipeline import connections, logs
from pipeline import replay as planning
from pipeline.cli import promotions
from pipeline.cli.instants import instant
from pipeline.cli.promotions import Processes, Rate
from pipeline.cli.replay_run import of_name, run, state_of, stored, summary, total
from pipeline.cli.terminal import Factory, Json, print_json, print_table, write_csv
from pipeline.cli.terminal import ReplayName as Name
from pipeline.core.errors import SettingsError
from pipeline.replaying import differences, replays, stretches
from pipeline.replaying.replays import Replay, ReplayState, Wanted
from pipeline.settings import Settings, load
from pipeline.store.connect import connect

app = typer.Typer(
    help="Topics once more, into a shadow beside the live tables.", no_args_is_help=True, rich_markup_mode=None
)

app.command()(promotions.promote)
app.command()(promotions.undo)

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


Topics = Annotated[list[str] | None, typer.Option(help="Only this topic; repeatable. Default: all.")]
Stored = Annotated[bool, typer.Option("--stored", help="Read what is stored, not the topics.")]
Cold = Annotated[bool, typer.Option("--cold", help="Begin where the logs begin, even if something came before.")]
Since = Annotated[str | None, typer.Option(help="Only what was measured from then on, ISO 8601.")]
Until = Annotated[str | None, typer.Option(help="Only what was measured before, ISO 8601.")]
FromOffset = Annotated[int | None, typer.Option(min=0, help="Only from this offset of every partition on.")]
ToOffset = Annotated[int | None, typer.Option(min=0, help="Only before this offset of every partition.")]
OfFactory = Annotated[list[str] | None, typer.Option(help="Only rows of this factory; repeatable.")]
Machine = Annotated[list[str] | None, typer.Option(help="Only rows of this machine; repeatable.")]
Config = Annotated[Path | None, typer.Option(help="File of settings to replay by, instead of the usual one.")]


@app.command()
def start(
    name: Name,
    topic: Topics = None,
    stored: Stored = False,
    cold: Cold = False,
    since: Since = None,
    until: Until = None,
    from_offset: FromOffset = None,
    to_offset: ToOffset = None,
    of_factory: OfFactory = None,
    machine: Machine = None,
    config: Config = None,
    processes: Processes = 2,
    rate: Rate = 0.0,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Read topics from their beginning to their present end. Ctrl-C stores what there is; `resume` goes on."""
    _require_name(name)
    file = str(config.absolute()) if config is not None else None
    options = planning.ReplayOptions(
        topics=tuple(topic or ()),
        cold=cold,
        stored=stored,
        from_offset=from_offset,
        to_offset=to_offset,
        factories=tuple(of_factory or ()),
        machines=tuple(machine or ()),
        since_ms=instant("--since", since),
        until_ms=instant("--until", until),
        config=file,
        processes=processes,
        rate=rate,
    )
    settings = load(factory, file)
    logs.configure("warning", settings.log.format)
    _run(settings, planning.begin(settings, name, options), json=json)


@app.command()
def resume(name: Name, factory: Factory = None, json: Json = False) -> None:
    """Go on with a replay that was paused, interrupted or killed; one that runs already goes on."""
    settings, replay = of_name(name, factory)
    logs.configure("warning", settings.log.format)
    if replay.state is ReplayState.STOPPED:
        raise SettingsError(f"the replay {name!r} was stopped for good; `pipeline replay drop {name}` deletes it")
    if replay.state is ReplayState.PROMOTED:
        raise SettingsError(f"the replay {name!r} is promoted; `pipeline replay undo {name}` turns that back")
    planning.go_on(settings, replay)
    _run(settings, replay, json=json)


@app.command()
def pause(name: Name, factory: Factory = None) -> None:
    """Let a replay's processes store what they have and end; `resume` goes on."""
    _want(load(factory), name, Wanted.PAUSE)


@app.command()
def stop(name: Name, factory: Factory = None) -> None:
    """End a replay for good; its rows stay until `drop`."""
    _want(load(factory), name, Wanted.STOP)


@app.command()
def drop(
    name: Name,
    for_good: Annotated[
        bool, typer.Option("--for-good", help="Though it is promoted: that can not be undone any more.")
    ] = False,
    factory: Factory = None,
) -> None:
    """Delete a replay and its rows."""
    settings = load(factory)
    with connect(settings.admin_dsn, autocommit=True, application_name="pipeline replay") as connection:
        replays.find(connection, name)
        replays.claim_alone(connection, name)
        replay = replays.find(connection, name)
        if replay.state is ReplayState.PROMOTED and not for_good:
            raise SettingsError(
                f"the replay {name!r} is promoted, and dropped that cannot be undone: say --for-good if it is to stay"
            )
        replays.drop(connection, replay)
    sys.stdout.write(f"dropped the replay {name}\n")


@app.command("list")
def list_(factory: Factory = None, json: Json = False) -> None:
    """List replays with how far they are."""
    settings = load(factory)
    with connections.database(settings, "pipeline replay") as connection:
        found = replays.all_of(connection, settings.site.cluster, settings.group)
        far = {each.name: stretches.progress_of(connection, each) for each in found}
    if json:
        print_json([summary(each, far[each.name]) for each in found])
        return
    rows = [
        (each.name, state_of(each), stored(far[each.name]), total(far[each.name]), each.created_at, each.reason)
        for each in found
    ]
    print_table(["replay", "state", "stored", "of", "created", "reason"], rows, prose=True)


@app.command()
def diff(
    name: Name,
    csv: Annotated[Path | None, typer.Option(help="Also write every column's figures to this file.")] = None,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Compare a replay with the live tables, as far as both have come. Exit code 1 if anything differs."""
    with connections.database(load(factory), "pipeline replay diff") as connection:
        replay = replays.find(connection, name)
        found, uneven = differences.differences(connection, replay)
    figures = [asdict(each) for each in found]
    if csv is not None:
        write_csv(csv, list(figures[0]), figures)
    if json:
        print_json({"holds": all(each.holds for each in found), "uneven_partitions": uneven, "columns": figures})
    else:
        shown = [each for each in figures if not each["column"] or each["changed"]]
        print_table(list(figures[0]), [list(each.values()) for each in shown], keys=2)
        if uneven:
            sys.stdout.write(
                f"note: in {uneven} partition(s) the replay and the live tables have not come equally far: open windows and"
                " machine states were left out\n"
            )
    raise typer.Exit(0 if all(each.holds for each in found) else 1)


def _require_name(name: str) -> None:
    if not name or len(name) > 40 or set(name) - _LETTERS:
        raise typer.BadParameter(f"{name!r} is no name for a replay: a to z, 0 to 9 and _, at most 40 characters")


def _want(settings: Settings, name: str, wanted: Wanted) -> None:
    with connections.database(settings, "pipeline replay") as connection:
        replay = replays.find(connection, name)
        replays.want(connection, name, wanted)
        if not replay.is_alive and replay.state not in {
            ReplayState.COMPLETE,
            ReplayState.STOPPED,
            ReplayState.PROMOTED,
        }:
            replays.note(connection, name, replay_pool.ENDS[wanted])


def _run(settings: Settings, replay: Replay, *, json: bool) -> None:
    state = run(settings, replay)
    with connections.database(settings, "pipeline replay") as connection:
        done = summary(replays.find(connection, replay.name), stretches.progress_of(connection, replay))
    if json:
        print_json(done)
    else:
        sys.stdout.write(f"{state}: {done['stored']:,} of {done['total']:,} records in {replay.schema}\n")
        if state is ReplayState.PAUSED:
            sys.stdout.write(f"go on with: pipeline replay resume {replay.name}\n")

"""``pipeline replay``: topics once more, into a shadow beside the live tables."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from csv import DictWriter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agents import replay_pool
from pipeline import connections, logs
from pipeline import replay as planning
from pipeline.cli.terminal import Factory, Json, print_json, print_table
from pipeline.core.errors import SettingsError
from pipeline.settings import Settings, load
from pipeline.store import differences, replays
from pipeline.store.connect import connect
from pipeline.store.replays import RangeProgress, Replay, ReplayState, Wanted

app = typer.Typer(
    help="Topics once more, into a shadow beside the live tables.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(help="Name of the replay: a to z, 0 to 9 and _, at most 40 characters.")]

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


@app.command()
def start(
    name: Name,
    topic: Annotated[list[str] | None, typer.Option(help="Only this topic; repeatable. Default: all.")] = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="Begin where the logs begin, even if something came before.")
    ] = False,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the partitions.")] = 2,
    rate: Annotated[float, typer.Option(min=0, help="Messages per second at most; 0: as fast as it goes.")] = 0.0,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Read topics from their beginning to their present end. Ctrl-C stores what there is; `resume` goes on."""
    if not name or len(name) > 40 or set(name) - _LETTERS:
        raise typer.BadParameter(f"{name!r} is no name for a replay: a to z, 0 to 9 and _, at most 40 characters")
    settings = load(factory)
    logs.configure("warning", settings.log.format)
    replay = planning.begin(settings, name, planning.ReplayOptions(tuple(topic or ()), cold, processes, rate))
    _run(settings, replay, json=json)


@app.command()
def resume(name: Name, factory: Factory = None, json: Json = False) -> None:
    """Go on with a replay that was paused, interrupted or killed; one that runs already goes on."""
    settings = load(factory)
    logs.configure("warning", settings.log.format)
    with connections.database(settings, "pipeline replay") as connection:
        replay = replays.find(connection, name)
        if replay.state is ReplayState.STOPPED:
            raise SettingsError(f"the replay {name!r} was stopped for good; `pipeline replay drop {name}` deletes it")
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
def drop(name: Name, factory: Factory = None) -> None:
    """Delete a replay and its rows."""
    settings = load(factory)
    with connect(settings.admin_dsn, autocommit=True, application_name="pipeline replay") as connection:
        replay = replays.find(connection, name)
        replays.claim(connection, name)
        replays.drop(connection, replay)
    sys.stdout.write(f"dropped the replay {name}\n")


@app.command("list")
def list_(factory: Factory = None, json: Json = False) -> None:
    """List replays with how far they are."""
    settings = load(factory)
    with connections.database(settings, "pipeline replay") as connection:
        found = replays.all_of(connection, settings.site.cluster, settings.group)
        far = {each.name: replays.progress_of(connection, each) for each in found}
    if json:
        print_json([_summary(each, far[each.name]) for each in found])
        return
    rows = [
        (each.name, _state(each), _stored(far[each.name]), _total(far[each.name]), each.created_at, each.reason)
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
        _write_csv(csv, figures)
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


def _write_csv(path: Path, figures: Sequence[dict[str, object]]) -> None:
    try:
        with path.open("w", newline="") as file:
            writer = DictWriter(file, list(figures[0]))
            writer.writeheader()
            writer.writerows(figures)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error


def _want(settings: Settings, name: str, wanted: Wanted) -> None:
    with connections.database(settings, "pipeline replay") as connection:
        replay = replays.find(connection, name)
        replays.want(connection, name, wanted)
        if not replay.is_alive and replay.state not in {ReplayState.COMPLETE, ReplayState.STOPPED}:
            replays.note(connection, name, replay_pool.ENDS[wanted])


def _run(settings: Settings, replay: Replay, *, json: bool) -> None:
    # Told to stop, it does what it does on Ctrl-C, which a shell's background job ignores else
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        with _bar(replay.name) as show:
            state = replay_pool.run(settings, replay, show)
    except KeyboardInterrupt:
        sys.stderr.write(f"paused; go on with: pipeline replay resume {replay.name}\n")
        raise
    with connections.database(settings, "pipeline replay") as connection:
        summary = _summary(replays.find(connection, replay.name), replays.progress_of(connection, replay))
    if json:
        print_json(summary)
    else:
        sys.stdout.write(f"{state}: {summary['stored']:,} of {summary['total']:,} records in {replay.schema}\n")
        if state is ReplayState.PAUSED:
            sys.stdout.write(f"go on with: pipeline replay resume {replay.name}\n")


@contextmanager
def _bar(name: str) -> Iterator[replay_pool.Told]:
    """Give what draws a progress bar on standard error, if that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None, rate="")

        def show(far: Sequence[RangeProgress]) -> None:
            speed = progress.tasks[0].speed
            rate = f"{speed:,.0f}/s" if speed else ""
            progress.update(task, completed=_stored(far), total=_total(far), rate=rate)

        yield show


def _stored(far: Sequence[RangeProgress]) -> int:
    return _total(far) - sum(each.left for each in far)


def _total(far: Sequence[RangeProgress]) -> int:
    return sum(each.end - each.start for each in far)


def _state(replay: Replay) -> str:
    return "interrupted" if replay.state is ReplayState.RUNNING and not replay.is_alive else replay.state.value


def _summary(replay: Replay, far: Sequence[RangeProgress]) -> dict[str, object]:
    ranges = [asdict(each) | each.source._asdict() for each in far]
    for each in ranges:
        del each["source"]
    return asdict(replay) | {"state": _state(replay), "stored": _stored(far), "total": _total(far), "ranges": ranges}

"""``pipeline deadletter``: what could not be accepted, and how it gets another chance."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from pipeline import connections
from pipeline.cli.terminal import Json, print_json, print_table
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.errors import SettingsError
from pipeline.requeue import requeue
from pipeline.settings import Settings, load
from pipeline.store import dead_letters
from pipeline.store.dead_letters import Selection, StoredLetter

app = typer.Typer(help="Records that could not be accepted: list, show, requeue.", no_args_is_help=True)

Topic = Annotated[str | None, typer.Option(help="Only of this topic.")]
Reason = Annotated[DeadLetterReason | None, typer.Option(help="Only with this reason.")]
Factory = Annotated[str | None, typer.Option(help="Of this factory's workers.")]
Place = Annotated[str | None, typer.Argument(help="topic:partition:offset:index, as the list shows it.")]


@app.command("list")
def list_(
    topic: Topic = None,
    reason: Reason = None,
    requeued: Annotated[bool, typer.Option(help="Also those that were requeued already.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """List dead letters, newest first."""
    letters = _find(load(factory), limit, topic=topic, reason=reason, requeued=requeued)
    if json:
        print_json([_plain(letter) for letter in letters])
        return
    rows = [(x.place, x.reason, x.record_time, len(x.body), x.detail) for x in letters]
    print_table(f"{len(letters)} dead letter(s)", ["place", "reason", "record time", "bytes", "detail"], rows)


@app.command()
def show(
    place: Annotated[str, typer.Argument(help="topic:partition:offset:index, as the list shows it.")],
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Show one dead letter with its body and headers."""
    letters = _find(load(factory), 1, place=_place(place), requeued=True)
    if not letters:
        raise SettingsError(f"there is no dead letter {place}; `pipeline deadletter list` shows what there is")
    plain = _plain(letters[0])
    if json:
        print_json(plain)
        return
    for name, value in plain.items():
        sys.stdout.write(f"{name:18}{value}\n")


@app.command("requeue")
def requeue_(
    place: Place = None,
    topic: Topic = None,
    reason: Reason = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were not requeued yet.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, oldest first.")] = 10_000,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Send dead letters to their topic again, after what was wrong has been mended."""
    if not (place or topic or reason or everything):
        raise typer.BadParameter("say which: a place, --topic, --reason or --all")
    settings = load(factory)
    where = _place(place) if place else None
    selection = Selection(settings.site.cluster, settings.group, topic, reason, where)
    letters = requeue(settings, selection, limit)
    if json:
        print_json({"requeued": len(letters), "places": [letter.place for letter in letters]})
    else:
        sys.stdout.write(f"requeued {len(letters)} dead letter(s)\n")


def _find(settings: Settings, limit: int, **which: Any) -> list[StoredLetter]:
    with connections.database(settings, "pipeline deadletter") as connection:
        return dead_letters.find(connection, Selection(settings.site.cluster, settings.group, **which), limit)


def _place(text: str) -> tuple[str, int, int, int]:
    topic, *numbers = text.rsplit(":", 3)
    if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
        raise typer.BadParameter(f"{text!r} is not topic:partition:offset:index")
    return topic, int(numbers[0]), int(numbers[1]), int(numbers[2])


def _plain(letter: StoredLetter) -> dict[str, Any]:
    plain = {"place": letter.place, **asdict(letter)}
    return plain | {
        "key": letter.key.decode("utf-8", "replace"),
        "body": letter.body.decode("utf-8", "backslashreplace"),
    }

"""``pipeline deadletter``: what could not be accepted, and how it gets another chance."""

from __future__ import annotations

import sys
from base64 import b64encode
from dataclasses import asdict
from typing import Annotated, Any

import orjson
import typer

from pipeline import connections
from pipeline.cli.terminal import Factory, Json, print_json, print_table, printable
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.errors import PipelineError
from pipeline.requeue import requeue
from pipeline.settings import Settings, load
from pipeline.store import dead_letters
from pipeline.store.dead_letters import Selection, StoredLetter

app = typer.Typer(
    help="Records that could not be accepted: list, show, requeue.", no_args_is_help=True, rich_markup_mode=None
)

Topic = Annotated[str | None, typer.Option(help="Only of this topic.")]
Reason = Annotated[
    DeadLetterReason | None,
    typer.Option(metavar="REASON", help=f"Only with this reason: {', '.join(DeadLetterReason)}."),
]
Place = Annotated[str | None, typer.Argument(help="topic:partition:offset:index, as the list shows it.")]


@app.command("list")
def list_(
    topic: Topic = None,
    reason: Reason = None,
    requeued: Annotated[bool, typer.Option("--requeued", help="Also those that were requeued already.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """List dead letters, newest first."""
    letters = _find(load(factory), limit, topic=topic, reason=reason, requeued=requeued)
    if json:
        print_json([_plain(letter) for letter in letters])
        return
    rows = [(x.place, x.reason, x.record_time, len(x.body), x.requeued_at, x.detail) for x in letters]
    print_table(["place", "reason", "record time", "bytes", "requeued", "detail"], rows, prose=True)


@app.command()
def show(
    place: Annotated[str, typer.Argument(help="topic:partition:offset:index, as the list shows it.")],
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Show one dead letter with its body and headers."""
    letters = _find(load(factory), 1, place=_place(place), requeued=True)
    if not letters:
        raise PipelineError(f"there is no dead letter {place}; `pipeline deadletter list` shows what there is")
    plain = _plain(letters[0])
    if json:
        print_json(plain)
        return
    for name, value in plain.items():
        shown = value if isinstance(value, str) else orjson.dumps(value).decode()
        sys.stdout.write(f"{name:18}{printable(shown)}\n")


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
    """Send dead letters to their topic again. Do so after what was wrong has been mended."""
    if not (place or topic or reason or everything):
        raise typer.BadParameter("say which: a place, --topic, --reason or --all")
    settings = load(factory)
    where = _place(place) if place else None
    selection = Selection(settings.site.cluster, settings.group, topic, reason, where)
    letters = requeue(settings, selection, limit)
    if place and not letters:
        raise PipelineError(f"no dead letter {place} waits; `pipeline deadletter list --requeued` shows all there are")
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
    return {"place": letter.place, **asdict(letter), "key": _readable(letter.key), "body": _readable(letter.body)}


def _readable(raw: bytes) -> Any:
    """Return bytes as JSON can say them: as text, or in base64 as headers are."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(raw).decode()}

"""``pipeline models explain``: where a prediction or an anomaly comes from, and whether it comes out again."""

from __future__ import annotations

import math
import sys
import uuid
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from pipeline import logs
from pipeline.cli.bars import bars
from pipeline.cli.model_figures import plain
from pipeline.cli.terminal import Factory, Json, print_json, print_table
from pipeline.core.errors import NotReproducible
from pipeline.modelling.lineage import Again, Compared, Explanation
from pipeline.modelling.lineage import explain as explained
from pipeline.settings import load
from pipeline.store.lineage import StoredAnomaly, StoredMessage, StoredPrediction

EventId = Annotated[
    uuid.UUID, typer.Argument(metavar="EVENT_ID", help="Of a prediction, an anomaly, or a message.", show_default=False)
]
Refold = Annotated[bool, typer.Option("--refold", help="Work out a prediction's inputs again too, from the messages.")]

_MODEL = (
    "model_id",
    "kind",
    "machine_type",
    "version",
    "stage",
    "sha256",
    "created_at",
    "created_by",
    "training",
    "note",
)


def explain(event_id: EventId, refold: Refold = False, factory: Factory = None, json: Json = False) -> None:
    """Say where a prediction or an anomaly comes from, and work it out again. Exit code 1: something else comes out."""
    settings = load(factory)
    logs.configure("error")
    with bars() as show:
        found = explained(
            settings, event_id, refolds=refold, told=lambda done, of: show("folding offsets again", done, of)
        )
    if isinstance(found, StoredMessage):
        _tell_message(found, json=json)
        return
    if json:
        print_json(_as_json(found))
    else:
        _tell(found)
    if not found.is_same and found.obstacle:
        raise NotReproducible(f"it cannot be worked out as it was: {found.obstacle}")
    raise typer.Exit(0 if found.is_same else 1)


def _as_json(found: Explanation) -> dict[str, Any]:
    stored, model = asdict(found.stored), found.model
    stored.pop("inputs", None)
    return {
        "what": found.what,
        "is_same": found.is_same,
        **stored,
        "model": None if model is None else {name: getattr(model, name) for name in _MODEL},
        "inputs": found.inputs,
        "limit": None if found.limit is None else dict(zip(("what", "value"), found.limit, strict=True)),
        "again": [
            {
                "by": each.by,
                "is_same": each.is_same,
                "from_offset": each.from_offset,
                "events": each.events,
                "note": each.note,
                "values": [each._asdict() | {"is_same": each.is_same} for each in _named(found, each)],
            }
            for each in found.again
        ],
    }


def _tell(found: Explanation) -> None:
    _pairs(found.what, str(found.stored.event_id), _about(found))
    if found.model is not None:
        sys.stdout.write("\n")
        _pairs("model", str(found.model.model_id), plain(found.model, _MODEL[1:]))
    for each in found.again:
        sys.stdout.write(f"\n{_heading(each)}\n")
        if each.values:
            print_table(["what", "stored", "again", "same"], [_row(value) for value in _named(found, each)])
    sys.stdout.write("\nit comes out the same\n" if found.is_same else "\nit does NOT come out the same\n")


def _about(found: Explanation) -> Iterable[tuple[str, Any]]:
    stored = found.stored
    names = ("machine_id", "factory_id", "event_time", "kind", "worker", "cluster", "message_id", "stored_time")
    yield from ((name, getattr(stored, name)) for name in names)
    yield "source", f"{stored.source}:{stored.source_offset}:{stored.source_index}"
    if isinstance(stored, StoredPrediction):
        yield "stage then", stored.stage
        yield "in force from offset", stored.in_force_from
        yield "in force until offset", stored.in_force_until
        yield "by control record", stored.control_id
        yield from ((f"input {name}", value) for name, value in found.inputs.items())
    elif isinstance(stored, StoredAnomaly):
        yield "sensor", stored.sensor
        yield "detector", f"{stored.detector}, version {stored.detector_version}"
    if found.limit is not None:
        yield found.limit


def _pairs(name: str, value: str, rows: Iterable[tuple[str, Any]]) -> None:
    print_table([name, value], [(key, _shown(each)) for key, each in rows], prose=True)


def _heading(again: Again) -> str:
    how = "answered again from the stored inputs"
    if again.by == "fold":
        how = (
            "folded again"
            if again.events is None
            else (f"folded again from offset {again.from_offset:,}: {again.events:,} messages")
        )
    return f"{how}{f' ({again.note})' if again.note else ''}:"


def _named(found: Explanation, again: Again) -> list[Compared]:
    """Return what was compared, inputs by their names."""
    names = {f"input {n}": f"input {name}" for n, name in enumerate(found.inputs, 1)}
    return [each._replace(name=names.get(each.name, each.name)) for each in again.values]


def _row(compared: Compared) -> tuple[str, Any, Any, bool]:
    return compared.name, _shown(compared.stored), _shown(compared.again), compared.is_same


def _shown(value: Any) -> Any:
    """Return a number with all its digits: a table would round it."""
    if isinstance(value, float):
        return "unknown" if math.isnan(value) else repr(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _tell_message(found: StoredMessage, *, json: bool) -> None:
    if json:
        print_json({"what": "message", **found.row, "predictions": found.predictions, "anomalies": found.anomalies})
        return
    _pairs(
        "message",
        str(found.row["event_id"]),
        ((name, value) for name, value in found.row.items() if name != "event_id"),
    )
    for title, rows in (("predictions", found.predictions), ("anomalies", found.anomalies)):
        sys.stdout.write(f"\n{title}:{'' if rows else ' none'}\n")
        if rows:
            print_table(list(rows[0]), [[_shown(each) for each in row.values()] for row in rows])

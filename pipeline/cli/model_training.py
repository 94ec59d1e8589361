"""``pipeline models train`` and ``evaluate stored``: models learned from what is stored, and asked about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from pipeline import connections
from pipeline.cli.bars import bars
from pipeline.cli.instants import instant
from pipeline.cli.interrupts import end_on_signals
from pipeline.cli.model_arguments import Kind, ModelId
from pipeline.cli.model_figures import figures, is_constant_as_good, says_something, shown
from pipeline.cli.model_stages import changing
from pipeline.cli.terminal import Factory, Json, print_json, print_table
from pipeline.modelling import stored_evaluation, training
from pipeline.modelling.training import TrainOptions
from pipeline.settings import load
from pipeline.store.migrate import require_schema
from pipeline.store.models import ModelVersion

_Source = Annotated[
    Literal["events", "archive"],
    typer.Option(help="events: as far back as the table goes. archive: from the archive's beginning, then the table."),
]
_From = Annotated[str | None, typer.Option("--from", help="Event time from which on; ISO 8601 with its zone.")]
_Until = Annotated[str | None, typer.Option(help="Event time before which; ISO 8601 with its zone.")]


def train(
    kind: Kind,
    machine_type: Annotated[str, typer.Option("--machine-type", help="Type of the machines it is for.")],
    source: _Source = "events",
    from_: _From = None,
    until: _Until = None,
    sensors: Annotated[
        str,
        typer.Option(
            help="Sensors it looks at, with commas between them; default: those that machines of the type have."
        ),
    ] = "",
    horizon: Annotated[
        float | None,
        typer.Option(help="How far ahead: hours of operation (remaining_life) or operating cycles (failure_type)."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    note: Annotated[str, typer.Option(help="In your words, for whoever reads the list.")] = "",
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Learn a candidate from what is stored; machines that teach it nothing say how good it is."""
    end_on_signals()
    settings = load(factory)
    options = TrainOptions(
        kind,
        machine_type,
        source,
        instant("--from", from_),
        instant("--until", until),
        tuple(each.strip() for each in sensors.split(",")) if sensors else (),
        horizon,
        seed,
        note,
    )
    with bars() as show, changing(settings) as connection:
        version, is_new = training.train(settings, connection, options, show)
    if json:
        print_json(asdict(version) | {"is_new": is_new})
    else:
        _tell(version, is_new=is_new)


def _tell(version: ModelVersion, *, is_new: bool) -> None:
    number = version.model_id
    if not is_new:
        sys.stdout.write(f"model {number}, {version.name}, was learned from the same before: nothing was added\n")
        return
    sys.stdout.write(f"model {number}, {version.name}, is a candidate now\n")
    _print_metrics(version.kind, version.metrics | {"training": _counts(version.training)})
    _note(version.metrics["test"])
    sys.stdout.write(f"\nnext: `pipeline models shadow {number}` lets it predict beside the live one\n")


def stored(
    model_id: ModelId,
    source: _Source = "events",
    from_: _From = None,
    until: _Until = None,
    save: Annotated[bool, typer.Option("--save", help="Keep the figures with the model.")] = False,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Ask a registered model about stored lives of machines that it was not taught, and compare with what came."""
    end_on_signals()
    settings = load(factory)
    opened = changing(settings) if save else connections.database(settings, "pipeline models")
    with bars() as show, opened as connection:
        require_schema(connection)
        found = stored_evaluation.evaluate(
            settings,
            connection,
            model_id,
            source=source,
            since_ms=instant("--from", from_),
            until_ms=instant("--until", until),
            saves=save,
            tell=show,
        )
    if json:
        about = {"model_id": model_id, "name": found.name, "of_judges": found.of_judges}
        print_json(about | {"metrics": found.metrics, "is_saved": save})
        return
    whose = "machines that taught it nothing" if found.of_judges else "all machines; nobody knows which taught it"
    sys.stdout.write(f"model {model_id}, {found.version.name}, on {whose}\n")
    _print_metrics(found.version.kind, {found.name: found.metrics})
    _note(found.metrics)


def _counts(training_: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in training_.items() if isinstance(value, int)}


def _print_metrics(kind: str, metrics: Mapping[str, Any]) -> None:
    for title, measured in metrics.items():
        rows = [(name, shown(kind, name, value)) for name, value in figures(measured) if says_something(kind, name)]
        sys.stdout.write(f"\n{title}:{'' if rows else ' nothing'}\n")
        print_table(["figure", "value"], rows)


def _note(metrics: Mapping[str, Any]) -> None:
    if is_constant_as_good(metrics):
        sys.stdout.write("\nnote: no better than always saying the same\n")

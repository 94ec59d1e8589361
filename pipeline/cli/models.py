"""``pipeline models``: learned models, what they were measured to do, and which of them predict."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import orjson
import typer

from pipeline import connections
from pipeline.cli import (
    model_comparison,
    model_evaluation,
    model_files,
    model_lineage,
    model_monitoring,
    model_stages,
    model_training,
)
from pipeline.cli.model_stages import ModelId, group_of
from pipeline.cli.terminal import Factory, Json, print_json, print_table
from pipeline.core.prognosis.artefacts import KnownModels
from pipeline.core.prognosis.kinds import KNOWN
from pipeline.settings import load
from pipeline.store import models
from pipeline.store.migrate import require_schema

Kind = Annotated[str | None, typer.Option(help="Only of this kind.")]
MachineType = Annotated[str | None, typer.Option("--machine-type", help="Only for machines of this type.")]


def list_(kind: Kind = None, machine_type: MachineType = None, factory: Factory = None, json: Json = False) -> None:
    """List the versions of models that there are."""
    settings = load(factory)
    with connections.database(settings, "pipeline models") as connection:
        require_schema(connection)
        found = models.all_of(connection, group_of(settings), kind=kind, machine_type=machine_type)
    if json:
        print_json([asdict(each) for each in found])
        return
    names = (
        "model_id",
        "kind",
        "machine_type",
        "version",
        "stage",
        "artefact_bytes",
        "created_at",
        "created_by",
        "note",
    )
    columns = ["model", "kind", "machine type", "version", "stage", "bytes", "created", "by", "note"]
    print_table(columns, [[getattr(each, name) for name in names] for each in found], prose=True)


def show(model_id: ModelId, factory: Factory = None, json: Json = False) -> None:
    """Show one version: how it was learned, what was measured, its stages, and in which partitions it predicts."""
    settings = load(factory)
    group = group_of(settings)
    with connections.database(settings, "pipeline models") as connection:
        require_schema(connection)
        found = models.find(connection, group, model_id)
        stages = models.history(connection, group, model_id)
        places = models.in_force(connection, group, model_id)
    if json:
        print_json(asdict(found) | {"stages": stages, "in_force": places})
        return
    # Distributions of inputs would fill the screen
    plain = asdict(found) | {"training": {name: value for name, value in found.training.items() if name != "inputs"}}
    rows = [(name, _shown(value)) for name, value in plain.items()]
    print_table(["model", str(model_id)], rows, prose=True)
    for title, each in (("stages", stages), ("predicts in", places)):
        sys.stdout.write(f"\n{title}:{'' if each else ' none'}\n")
        if each:
            print_table(list(each[0]), [list(row.values()) for row in each])


def _shown(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict) else value


COMMANDS: Mapping[str, Callable[..., None]] = {
    "list": list_,
    "show": show,
    "train": model_training.train,
    "compare": model_comparison.compare,
    "explain": model_lineage.explain,
    "monitor": model_monitoring.monitor,
    "promote": model_stages.promote,
    "shadow": model_stages.shadow,
    "retire": model_stages.retire,
    "rollback": model_stages.rollback,
    "export": model_files.export,
    "import": model_files.import_,
}


def group(known: KnownModels = KNOWN) -> typer.Typer:
    """Return the commands about models, for a program that can work with some kinds of them."""
    made = typer.Typer(
        help="Models: list, show, train, evaluate, compare, explain, monitor, promote, shadow, retire, rollback, files.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )

    @made.callback()
    def _know(context: typer.Context) -> None:
        context.obj = known

    for name, command in COMMANDS.items():
        made.command(name)(command)
    made.add_typer(model_evaluation.app, name="evaluate")
    return made

"""``pipeline models``: learned models, what they were measured to do, and which of them predict."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from pipeline import connections
from pipeline.cli.lazily import Listed, lazily
from pipeline.cli.model_arguments import ModelId, group_of
from pipeline.cli.model_figures import plain
from pipeline.cli.terminal import Factory, Json, print_json, print_table, printable
from pipeline.core.prognosis.artefacts import KnownModels
from pipeline.settings import load
from pipeline.store import models
from pipeline.store.migrate import require_schema
from pipeline.store.models import ModelVersion, PassedOver

Kind = Annotated[str | None, typer.Option(help="Only of this kind.")]
MachineType = Annotated[str | None, typer.Option("--machine-type", help="Only for machines of this type.")]


def list_(kind: Kind = None, machine_type: MachineType = None, factory: Factory = None, json: Json = False) -> None:
    """List the versions of models that there are."""
    settings = load(factory)
    with connections.database(settings, "pipeline models") as connection:
        require_schema(connection)
        found = models.all_of(connection, group_of(settings), kind=kind, machine_type=machine_type)
        passed_over = models.passed_over(connection, group_of(settings), found)
    if json:
        print_json(
            [
                asdict(each)
                | {"passed_over": [other._asdict() for other in passed_over if other.model_id == each.model_id]}
                for each in found
            ]
        )
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
    if not found:
        sys.stderr.write(f"note: group {settings.group} has no such models\n")
    version = {each.model_id: each for each in found}
    for other in passed_over:
        sys.stdout.write(f"{_passed_over(version[other.model_id], other)}\n")


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
    print_table(["model", str(model_id)], plain(found, asdict(found)), prose=True)
    for title, each in (("stages", stages), ("predicts in", places)):
        sys.stdout.write(f"\n{title}:{'' if each else ' none'}\n")
        if each:
            print_table(list(each[0]), [list(row.values()) for row in each])


def _passed_over(version: ModelVersion, other: PassedOver) -> str:
    return (
        f"note: {other.partitions} partition(s) refused model {version.model_id}, {printable(version.name)}, and predict with"
        f" version {other.said_version}: `pipeline models show {version.model_id}` names them, their workers' logs say why"
        " (model.refused)"
    )


COMMANDS = {
    "list": Listed("models", "list_", "List the versions of models that there are."),
    "show": Listed("models", "show", "Show one version: how it was learned, figures, stages."),
    "train": Listed("model_training", "train", "Learn a candidate from what is stored."),
    "compare": Listed("model_comparison", "compare", "Compare what two versions were measured to do."),
    "explain": Listed("model_lineage", "explain", "Say where a prediction or an anomaly comes from."),
    "monitor": Listed("model_monitoring", "monitor", "Hold what models said against maintenance records."),
    "promote": Listed("model_stages", "promote", "Let a version predict for all machines of its type."),
    "shadow": Listed("model_stages", "shadow", "Let a version predict beside the live one."),
    "retire": Listed("model_stages", "retire", "Let a version predict no more."),
    "rollback": Listed("model_stages", "rollback", "Let the version predict again that was live before."),
    "export": Listed("model_files", "export", "Write a version to a file, for another installation."),
    "import": Listed("model_files", "import_", "Make a file of a model the next version, a candidate."),
    "evaluate": Listed("model_evaluation", "app", "Judge models by what machines came to: stored, rul."),
}


def group(known: KnownModels | None = None) -> typer.Typer:
    """Return the commands about models, for a program that can work with some kinds of them; ``None``: with all there are."""
    made = typer.Typer(
        cls=lazily(COMMANDS),
        help="Models: list, show, train, evaluate, compare, explain, monitor, promote, shadow, retire, rollback, files.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )

    @made.callback()
    def _know(context: typer.Context) -> None:
        context.obj = known

    return made


app = group()

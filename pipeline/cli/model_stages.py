"""``pipeline models promote``, ``shadow``, ``retire`` and ``rollback``: which versions of models predict."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.cli.model_arguments import Kind, MachineType, ModelId, group_of
from pipeline.cli.terminal import Factory, Json, print_json
from pipeline.core.prognosis.artefacts import KnownModels
from pipeline.core.prognosis.kinds import KNOWN
from pipeline.settings import Settings, load
from pipeline.store import model_stages as stages
from pipeline.store.connect import Connection, connect
from pipeline.store.migrate import require_schema
from pipeline.store.model_stages import StageChange

Reason = Annotated[str, typer.Option(help="Why, for whoever reads the history.")]

_WAIT_S = 30.0  # for whoever changes models of the same kind and type


def changing(settings: Settings) -> Connection:
    """Open a connection of whoever may change models; the caller closes it."""
    connection = connect(
        settings.admin_dsn,
        autocommit=True,
        application_name="pipeline models",
        connect_timeout_s=settings.postgres.connect_timeout_s,
        lock_timeout_s=_WAIT_S,
        setting=settings.admin_setting,
    )
    try:
        require_schema(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def promote(
    context: typer.Context, model_id: ModelId, reason: Reason = "", factory: Factory = None, json: Json = False
) -> None:
    """Let a version predict for all machines of its type; the one before it is retired. `rollback` turns it back."""
    settings, known = load(factory), known_of(context)
    with changing(settings) as connection:
        _tell(stages.promote(connection, group_of(settings), model_id, known, reason), json=json)


def shadow(
    context: typer.Context, model_id: ModelId, reason: Reason = "", factory: Factory = None, json: Json = False
) -> None:
    """Let a version predict beside the live one, for comparison only."""
    settings, known = load(factory), known_of(context)
    with changing(settings) as connection:
        _tell(stages.shadow(connection, group_of(settings), model_id, known, reason), json=json)


def retire(model_id: ModelId, reason: Reason = "", factory: Factory = None, json: Json = False) -> None:
    """Let a version predict no more; if it is the live one, no other takes its place."""
    settings = load(factory)
    with changing(settings) as connection:
        _tell(stages.retire(connection, group_of(settings), model_id, reason), json=json)


def rollback(
    context: typer.Context,
    kind: Kind,
    machine_type: MachineType,
    reason: Reason = "",
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Let the version predict again that was live before the present one."""
    settings, known = load(factory), known_of(context)
    with changing(settings) as connection:
        change = stages.rollback(connection, group_of(settings), kind, machine_type, known, reason)
    # Another rollback goes one promotion further back
    _tell(change, json=json, how_back="promote")


def known_of(context: typer.Context) -> KnownModels:
    """Return which kinds of models the program can work with."""
    known: KnownModels | None = context.obj
    return KNOWN if known is None else known


def _tell(change: StageChange, *, json: bool, how_back: str = "rollback") -> None:
    if json:
        print_json(asdict(change) | {"is_change": change.is_change})
        return
    name = f"model {change.model_id}, {change.kind} of {change.machine_type}, version {change.version}"
    if not change.is_change:
        sys.stdout.write(f"{name} is {change.stage} already: nothing was changed\n")
        return
    sys.stdout.write(f"{name} is {change.stage} now, it was {change.previous_stage}\n")
    if change.replaced_version is not None:
        sys.stdout.write(
            f"version {change.replaced_version} is retired; `pipeline models {how_back}` makes it live again\n"
        )
    if change.control_id is not None:
        sys.stdout.write(f"from where on it holds in each partition: `pipeline models show {change.model_id}`\n")

"""What users meet is in the docs: settings, commands, tables, views, metrics, reasons, exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from agents.worker import Worker
from pipeline.cli import app
from pipeline.core import errors
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.settings import Settings, keys
from pipeline.store.connect import connect

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
CONTRACT = (ROOT / "docs/data-contract.md").read_text()

SETTINGS = [(f"{group}.{key}", field) for group in Settings.model_fields for key, field in keys(group).items()]
GROUPS = typer.main.get_command(app).commands
COMMANDS = [
    " ".join(words)
    for name, command in GROUPS.items()
    for words in ([[name, each] for each in command.commands] if hasattr(command, "commands") else [[name]])
]


@pytest.mark.parametrize(("name", "field"), SETTINGS, ids=[name for name, _ in SETTINGS])
def test_every_setting_is_documented_with_its_meaning(name, field) -> None:
    row = next(line for line in OPERATIONS.splitlines() if line.startswith(f"| `{name}` |"))

    assert field.description in row


def test_every_metric_is_documented_with_its_labels_and_meaning() -> None:
    worker = Worker(Settings(), "documented")
    metrics = [metric for metric in worker.metrics.registry.collect() if metric.name.startswith("pipeline_")]
    documented = dict(re.findall(r"^\| `(pipeline_\w+)` \| .*\|(.+)\|$", OPERATIONS, re.MULTILINE))

    assert len(metrics) > 20
    assert set(documented) == {metric.name for metric in metrics}
    assert [metric.name for metric in metrics if metric.documentation not in documented[metric.name]] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert f"`pipeline {command}`" in OPERATIONS


@pytest.mark.parametrize("reason", list(DeadLetterReason))
def test_every_reason_for_a_dead_letter_is_documented(reason: DeadLetterReason) -> None:
    assert f"| `{reason}` |" in CONTRACT


@pytest.mark.parametrize(
    "error", [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.PipelineError)]
)
def test_every_exit_code_is_documented(error: type[errors.PipelineError]) -> None:
    assert f"\n| {error.exit_code} | " in OPERATIONS


def test_every_table_and_every_column_of_every_view_is_documented(database) -> None:
    with connect(database.admin_dsn) as connection:
        tables = connection.execute(
            "SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'telemetry'::regnamespace"
            " AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT LIKE '%yoyo%'"
        ).fetchall()
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'dashboard'"
        ).fetchall()

    missing = [name for (name,) in tables if f"| `{name}` |" not in CONTRACT]
    for view, column in columns:
        section = CONTRACT.partition(f"### `dashboard.{view}`")[2].partition("###")[0]
        if f"`{column}`" not in section:
            missing.append(f"dashboard.{view}.{column}")
    assert columns
    assert missing == []

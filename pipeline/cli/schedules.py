"""``pipeline schedules``: manufacturers' schedules of service."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline import schedules
from pipeline.cli.terminal import Json, print_json, print_table
from pipeline.settings import load

app = typer.Typer(
    help="Manufacturers' schedules of service: import, list.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help=f"CSV with the columns {', '.join(schedules.COLUMNS)}.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only judge the rows.")] = False,
    json: Json = False,
) -> None:
    """Import a schedule of service; a row replaces the one with its machine type, component and task.

    Exit code 1 if a row was refused; the others are imported.
    """
    done = schedules.import_file(load(), file, dry_run=dry_run)
    if json:
        print_json({"file": str(file), **asdict(done)})
    else:
        said = "would be imported" if dry_run else "imported"
        sys.stdout.write(f"{said}: {done.imported:,} of {done.rows:,} row(s) of {file}\n")
        if done.refused:
            print_table(["line", "detail"], [(each.line, each.detail) for each in done.refused], prose=True)
    raise typer.Exit(1 if done.refused else 0)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the schedules of service."""
    found = schedules.stored(load())
    if json:
        print_json([asdict(each) for each in found])
    else:
        print_table(list(schedules.COLUMNS), [each.row for each in found], keys=2)

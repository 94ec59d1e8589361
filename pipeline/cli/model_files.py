"""``pipeline models export`` and ``import``: models as files, to carry them from one installation to another."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from pipeline import connections
from pipeline.cli.model_arguments import ModelId, group_of
from pipeline.cli.model_stages import changing, known_of
from pipeline.cli.terminal import Factory, Json, print_json
from pipeline.core.errors import ModelRefused, SettingsError
from pipeline.core.prognosis import artefacts
from pipeline.settings import load
from pipeline.store import models
from pipeline.store.migrate import require_schema
from pipeline.store.models import Candidate

_DESCRIBED = ("parameters", "training", "metrics")

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""In JSON; a backslash that another one stands before is one itself."""

_LARGEST_FILE = 2 * artefacts.MAX_BYTES

Type = Annotated[
    str | None, typer.Option("--machine-type", help="Machines it is for; default: as the file beside it says.")
]


def export(
    model_id: ModelId,
    file: Annotated[Path, typer.Argument(help="Where to; beside it comes FILE.json, which describes it.")],
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Write a version to a file, for `import` in another installation."""
    settings = load(factory)
    with connections.database(settings, "pipeline models") as connection:
        require_schema(connection)
        version = models.find(connection, group_of(settings), model_id)
        stored = models.artefact(connection, version)
    artefacts.require_whole(stored, version.sha256)
    described = asdict(version)
    try:
        file.write_bytes(stored)
        _beside(file).write_bytes(orjson.dumps(described, option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be written: {error.strerror}") from error
    if json:
        print_json({"file": str(file), "sha256": version.sha256, "bytes": len(stored)})
    else:
        sys.stdout.write(f"{file}: {version.name}, {len(stored):,} bytes; {_beside(file)} describes it\n")


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="From `export`; FILE.json beside it describes it, if it is there.")],
    machine_type: Type = None,
    note: Annotated[str, typer.Option(help="For whoever reads the list.")] = "",
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Make a file of a model the next version of its kind and machine type, as a candidate."""
    known = known_of(context)
    stored, described = _read(file), _description(_beside(file))
    try:
        # What describes it says too which bytes it describes
        artefacts.load(stored, described.get("sha256", artefacts.digest(stored)), known)
    except ModelRefused as error:
        raise ModelRefused(f"{file}: {error}") from error
    machine_type = machine_type or described.get("machine_type")
    if not machine_type:
        raise SettingsError(f"for which machines is {file}? say --machine-type")
    candidate = Candidate(
        machine_type,
        stored,
        **{name: described.get(name, {}) for name in _DESCRIBED},
        note=note or described.get("note", ""),
    )
    settings = load(factory)
    with changing(settings) as connection:
        version, is_new = models.add(connection, group_of(settings), candidate, known)
    if json:
        print_json(asdict(version) | {"is_new": is_new})
    elif is_new:
        sys.stdout.write(f"model {version.model_id}: {version.name}, a candidate\n")
    else:
        sys.stdout.write(f"{file} is {version.name}, model {version.model_id}, already: nothing was changed\n")


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _read(file: Path) -> bytes:
    try:
        if (size := file.stat().st_size) > _LARGEST_FILE:
            raise SettingsError(
                f"{file} has {size:,} bytes and is no artefact: give a file of `pipeline models export`"
            )
        return file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error


def _description(file: Path) -> Mapping[str, Any]:
    """Return what a file says of the artefact beside it; nothing if it is not there."""
    if not file.exists():
        return {}
    text = _read(file)
    try:
        said = orjson.loads(text)
        orjson.dumps(said)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        raise SettingsError(f"{file} is no JSON: {error}; export the model again, or remove the file") from error
    if _NUL.search(text):
        raise SettingsError(f"{file} has a text with the character NUL, which no database keeps: take it out")
    kinds = dict.fromkeys(_DESCRIBED, dict) | dict.fromkeys(("machine_type", "note", "sha256"), str)
    if not isinstance(said, dict) or any(not isinstance(said.get(name, kind()), kind) for name, kind in kinds.items()):
        raise SettingsError(f"{file} does not describe a model: export the model again, or remove the file")
    return said

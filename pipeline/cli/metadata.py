"""``pipeline machines``, ``factories``, ``lines`` and so on: what the plant is like, and how it is changed."""

from __future__ import annotations

import csv
import sys
import zoneinfo
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import orjson
import typer

from pipeline import connections
from pipeline.cli.terminal import Factory, Json, print_json, print_table, printable
from pipeline.commanding import Order, Outcome, entities, send, value_of
from pipeline.core.errors import PipelineError, SettingsError
from pipeline.core.plant import ENTITIES
from pipeline.core.wrong_values import not_utf8
from pipeline.settings import Settings, load

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "factories": "factory",
        "lines": "line",
        "machines": "machine",
        "skus": "sku",
        "shifts": "shift",
        "rules": "maintenance_rule",
    }
)
"""What each group of commands is about."""

Id = Annotated[str, typer.Argument(metavar="ID", help="Which one.")]
Fields = Annotated[
    list[str] | None,
    typer.Argument(metavar="FIELD=VALUE...", help="Lists and numbers as JSON has them; FIELD= takes a field away."),
]
Expected = Annotated[
    int | None, typer.Option("--expect", min=0, help="Only if it has this version; default: the one that it has now.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until a worker has judged it.")]
Wait = Annotated[float, typer.Option("--wait", min=0.1, help="How long to wait for a worker, s.")]


def list_(context: typer.Context, factory: Factory = None, json: Json = False) -> None:
    """List what there is."""
    kind = _kind(context)
    with connections.database(load(factory), "pipeline metadata") as connection:
        found = entities(connection, kind)
    if json:
        print_json([{"id": each[0], "version": each[1], "changed_at": each[2]} | each[3] for each in found])
        return
    names = list(ENTITIES[kind])
    rows = [(each[0], each[1], each[2], *(_shown(each[3].get(name)) for name in names)) for each in found]
    print_table(["id", "version", "changed", *names], rows)


def add(
    context: typer.Context,
    entity_id: Id,
    fields: Fields = None,
    no_wait: NoWait = False,
    wait: Wait = 30.0,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Add one. Exit code 1 if that was rejected."""
    kind = _kind(context)
    order = Order(0, entity_id, "add", 0, _fields(kind, fields))
    _tell_one(send(load(factory), kind, [order], 0 if no_wait else wait)[0], json=json, waited=not no_wait)


def change(
    context: typer.Context,
    entity_id: Id,
    fields: Fields = None,
    expect: Expected = None,
    no_wait: NoWait = False,
    wait: Wait = 30.0,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Change some fields of one. Exit code 1 if that was rejected."""
    kind, settings = _kind(context), load(factory)
    body = _fields(kind, fields)
    if not body:
        raise typer.BadParameter(f"say what to change: {'=…, '.join(ENTITIES[kind])}=…")
    order = Order(0, entity_id, "change", _version(settings, kind, entity_id, expect), body)
    _tell_one(send(settings, kind, [order], 0 if no_wait else wait)[0], json=json, waited=not no_wait)


def remove(
    context: typer.Context,
    entity_id: Id,
    expect: Expected = None,
    no_wait: NoWait = False,
    wait: Wait = 30.0,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Remove one. Exit code 1 if that was rejected."""
    kind, settings = _kind(context), load(factory)
    order = Order(0, entity_id, "remove", _version(settings, kind, entity_id, expect), {})
    _tell_one(send(settings, kind, [order], 0 if no_wait else wait)[0], json=json, waited=not no_wait)


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV with a column id and one for each field.")],
    no_wait: NoWait = False,
    wait: Wait = 60.0,
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Add or change one a row. Exit code 1 if a row was rejected; the others are done all the same."""
    kind, settings = _kind(context), load(factory)
    with connections.database(settings, "pipeline metadata") as connection:
        versions = {each[0]: each[1] for each in entities(connection, kind)}
    outcomes = send(settings, kind, list(_orders(file, kind, versions)), 0 if no_wait else wait)
    counted = Counter(each.status for each in outcomes)
    refused = [each for each in outcomes if each.status == "rejected" or (each.status == "sent" and not no_wait)]
    if json:
        print_json({"statuses": counted, "refused": [asdict(each) for each in refused]})
    else:
        sys.stdout.write(", ".join(f"{status}: {n:,}" for status, n in sorted(counted.items())) or "no rows")
        sys.stdout.write("\n")
        if refused:
            rows = [(each.place, each.entity_id, _why(each)) for each in refused]
            print_table(["line", "id", "reason"], rows, keys=2, prose=True)
    raise typer.Exit(1 if refused else 0)


_COMMANDS: Mapping[str, Callable[..., None]] = {
    "list": list_,
    "add": add,
    "change": change,
    "remove": remove,
    "import": import_,
}


def group(plural: str) -> typer.Typer:
    """Return the commands about one kind of entity."""
    kind = KINDS[plural].replace("_", " ")
    made = typer.Typer(
        help=f"Each {kind} of the plant: list, add, change, remove, import.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for name, command in _COMMANDS.items():
        made.command(name)(command)
    return made


factories, lines, machines, skus, shifts, rules = map(group, KINDS)


def _kind(context: typer.Context) -> str:
    assert context.parent is not None  # noqa: S101  # every command here is one of a group
    return KINDS[str(context.parent.info_name)]


def _fields(kind: str, given: Sequence[str] | None) -> dict[str, Any]:
    fields = {}
    for each in given or ():
        name, sign, text = each.partition("=")
        if not sign:
            raise typer.BadParameter(f"{each!r} is not FIELD=VALUE")
        fields[name] = value_of(kind, name, text)
    _check_zone(fields)
    return fields


def _check_zone(fields: Mapping[str, Any]) -> None:
    """Refuse a time zone that this computer does not know; a worker looks only at how it is written."""
    zone = fields.get("time_zone")
    if zone and zone not in zoneinfo.available_timezones():
        raise typer.BadParameter(f"there is no time zone {zone!r}; write one such as Europe/Oslo")


def _version(settings: Settings, kind: str, entity_id: str, expected: int | None) -> int:
    if expected is not None:
        return expected
    with connections.database(settings, "pipeline metadata") as connection:
        found = {each[0]: each[1] for each in entities(connection, kind)}
    if entity_id not in found:
        plural = next(plural for plural, each in KINDS.items() if each == kind)
        raise PipelineError(f"there is no {kind} {entity_id!r}; `pipeline {plural} list` shows what there is")
    return found[entity_id]


def _orders(file: Path, kind: str, versions: dict[str, int]) -> Iterator[Order]:
    """Yield an order for each row of a file; a later row about the same entity expects what the earlier one made."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, strict=True)
            if "id" not in (reader.fieldnames or ()):
                raise SettingsError(f"{file} has no column id; its first line names the columns")
            for row in reader:
                entity_id, place = row.pop("id", None), reader.line_num
                if None in row or None in row.values() or not entity_id:
                    raise SettingsError(
                        f"{file} line {place} has not one cell for each column, or no id; nothing was sent"
                    )
                version = versions.get(entity_id, 0)
                body = {name: value_of(kind, name, text) for name, text in row.items() if text or version}
                _check_zone(body)
                yield Order(place, entity_id, "change" if version else "add", version, body)
                versions[entity_id] = version + 1
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}; nothing was sent") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} {not_utf8(error)}; nothing was sent") from error
    except csv.Error as error:
        raise SettingsError(f"{file} is no CSV: {error}; nothing was sent") from error


def _tell_one(outcome: Outcome, *, json: bool, waited: bool) -> None:
    """Print what became of one order, and end with its exit code."""
    is_done = outcome.status == "applied" or not waited
    if json:
        print_json(asdict(outcome))
    elif is_done:
        version = f", version {outcome.version}" if outcome.version is not None else ""
        sys.stdout.write(f"{outcome.status}: {printable(outcome.entity_id)}{version}\n")
    else:
        raise PipelineError(f"{outcome.entity_id}: {_why(outcome)}")
    raise typer.Exit(0 if is_done else 1)


def _why(outcome: Outcome) -> str:
    if outcome.status == "rejected":
        return outcome.reason
    return (
        f"no worker has judged command {outcome.command_id} yet; it is in the topic and will be: see that a worker runs, and"
        " look at dashboard.metadata_command"
    )


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else orjson.dumps(value).decode()

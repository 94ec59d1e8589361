"""``pipeline models compare``: figures of two versions side by side, and on what they were measured."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, NamedTuple

import typer

from pipeline import connections
from pipeline.cli.model_arguments import MOST, ModelId, group_of
from pipeline.cli.model_figures import figures, says_something
from pipeline.cli.terminal import NEVER, Factory, Json, print_json, print_table, printable
from pipeline.core.errors import PipelineError
from pipeline.settings import load
from pipeline.store import models
from pipeline.store.migrate import require_schema
from pipeline.store.models import ModelVersion

Other = Annotated[
    int, typer.Argument(metavar="OTHER", min=1, max=MOST, help="Number of the model that it is compared with.")
]

_COUNTS = ("machines", "lives", "failures", "censored", "cycles", "classed_messages")
_AT_TRAINING = ("test", "prequential")
_HORIZONS = ("horizon_h", "horizon_cycles")
_BOUNDS = {"from": "since", "until": "until"}


class Unlike(NamedTuple):
    """Something in which two measurements differ, or of which nobody noted whether they do.

    Parameters
    ----------
    of
        Which figures.
    what
        A count of what they were measured on, the ``machine_type``, ``source``, ``from`` or ``until`` of the events, or the
        ``horizon`` up to which errors count.
    first, second
        Of the two versions; ``None``: without, or not noted.
    """

    of: str
    what: str
    first: Any
    second: Any


def compare(model_id: ModelId, other: Other, factory: Factory = None, json: Json = False) -> None:
    """Compare what two versions of one kind were measured to do, and say where that was not on the same."""
    settings = load(factory)
    with connections.database(settings, "pipeline models") as connection:
        require_schema(connection)
        first, second = (models.find(connection, group_of(settings), each) for each in (model_id, other))
    if first.kind != second.kind:
        raise PipelineError(
            f"{model_id} is a model of {first.kind}, {other} one of {second.kind}: compare two of one kind"
        )
    rows, differing = _side_by_side(first, second), unlike(first, second)
    if json:
        names = ("metric", "first", "second", "difference")
        metrics = [dict(zip(names, row, strict=True)) for row in rows]
        print_json({"models": [model_id, other], "metrics": metrics, "unlike": [each._asdict() for each in differing]})
    elif rows:
        print_table(
            ["metric", str(model_id), str(other), "difference"], [[name, *map(_short, rest)] for name, *rest in rows]
        )
        sys.stdout.write(f"\n{_note(differing)}\n" if differing else "")
    else:
        sys.stdout.write(f"nothing was measured of {model_id} or {other}: `pipeline models show` says what is known\n")


def unlike(first: ModelVersion, second: ModelVersion) -> list[Unlike]:
    """Return in what the measurements differ of which both versions have figures.

    Figures of a model that was never trained here say nothing of machines: then it is not known whether they are the same.
    """
    shared = {name for name, _ in figures(first.metrics)} & {name for name, _ in figures(second.metrics)}
    found = []
    for of in sorted(of for of in first.metrics if any(name == of or name.startswith(f"{of}.") for name in shared)):
        one, two = _measured_on(first, of), _measured_on(second, of)
        found += [
            Unlike(of, what, one[what], two[what])
            for what in one
            if one[what] != two[what] or (what == "machines" and one[what] is None)
        ]
    return found


def _measured_on(version: ModelVersion, of: str) -> dict[str, Any]:
    """Return what is noted of that on which figures of a version were measured."""
    # Lives that taught it were told before they were learned
    counts = version.training if of == "prequential" else version.metrics[of]
    noted = {
        what: counts.get(what) if isinstance(counts, Mapping) else None
        for what in _COUNTS
        if says_something(version.kind, what)
    }
    horizons = [version.parameters[key] for key in _HORIZONS if key in version.parameters]
    noted |= {"machine_type": version.machine_type, "horizon": horizons[0] if horizons else None}
    if of in _AT_TRAINING:
        bounds = {what: _instant(version.parameters.get(f"{key}_ms")) for what, key in _BOUNDS.items()}
        noted |= {"source": version.training.get("source")} | bounds
    return noted


def _note(differing: Sequence[Unlike]) -> str:
    """Return as one line what is not the same.

    Examples
    --------
    >>> print(_note([Unlike("test", "machines", 5, 7), Unlike("test", "until", None, "2026-11-01T00:00:00+00:00")]))
    note: not measured on the same: test (machines 5 and 7, until – and 2026-11-01T00:00:00+00:00); to have both measured on \
the same, say `pipeline models evaluate stored MODEL --save` of each, with the same --from and --until
    """
    said = []
    for of, each in groupby(differing, lambda unlike: unlike.of):
        parts = [
            f"{what.replace('_', ' ')} {_or_never(first)} and {_or_never(second)}"
            if (first, second) != (None, None)
            else f"{what} not noted"
            for _, what, first, second in each
        ]
        said.append(f"{printable(of)} ({', '.join(parts)})")
    return (
        f"note: not measured on the same: {'; '.join(said)}; to have both measured on the same, say"
        " `pipeline models evaluate stored MODEL --save` of each, with the same --from and --until"
    )


def _or_never(value: Any) -> str:
    if value is None:
        return NEVER
    return f"{value:,}" if isinstance(value, int) else printable(str(_short(value)))


def _instant(at_ms: Any) -> str | None:
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).isoformat() if isinstance(at_ms, int) else None


def _side_by_side(first: ModelVersion, second: ModelVersion) -> list[tuple[str, Any, Any, float | None]]:
    one, two = ({name: float(value) for name, value in figures(each.metrics)} for each in (first, second))
    return [
        (name, one.get(name), two.get(name), two[name] - one[name] if name in one and name in two else None)
        for name in sorted(one.keys() | two.keys())
        if says_something(first.kind, name)
    ]


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value

"""``pipeline models monitor``: how well models do, whether what goes into them changes, and candidates learned for that."""

from __future__ import annotations

import re
import sys
import time
from typing import Annotated, Any

import typer

from pipeline import logs
from pipeline.cli.interrupts import end_on_signals
from pipeline.cli.model_arguments import group_of
from pipeline.cli.model_stages import changing, known_of
from pipeline.cli.terminal import Factory, Json, print_json, print_table
from pipeline.core.errors import SettingsError
from pipeline.modelling import training
from pipeline.modelling.monitoring.monitor import Monitor, Round, Train
from pipeline.modelling.monitoring.trigger import Limits
from pipeline.modelling.training import TrainOptions
from pipeline.settings import Settings, load
from pipeline.store.connect import Connection
from pipeline.store.models import ModelVersion

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_MOST_S = 10_000 * 86_400

_QUALITY = ["model_id", "kind", "machine_type", "version", "labels", "rmse", "coverage", "accuracy", "f1", "censored"]
_DRIFT = ["model_id", "feature", "day", "psi", "inputs", "machines"]
_MOST_FEATURES = 10


def monitor(
    context: typer.Context,
    once: Annotated[
        bool, typer.Option("--once", help="One round; else one after the other, until it is ended.")
    ] = False,
    interval: Annotated[str, typer.Option(help="Between rounds: a number of s, m, h or d.")] = "60s",
    window: Annotated[str, typer.Option(help="How far back figures go that models are judged by.")] = "30d",
    factory: Factory = None,
    json: Json = False,
) -> None:
    """Hold what models said against maintenance records; learn a candidate where a live one does too badly, promote none."""
    interval_s, window_s = _seconds("--interval", interval), _seconds("--window", window)
    settings = load(factory)
    logs.configure(settings.log.level, settings.log.format)
    end_on_signals()
    with changing(settings) as connection:
        watching = Monitor(
            connection,
            group_of(settings),
            known_of(context),
            successors(settings, connection),
            Limits(**settings.monitoring.model_dump()),
            window_s,
        )
        while True:
            _tell(watching.once(), json=json)
            if once:
                return
            time.sleep(interval_s)


def successors(settings: Settings, connection: Connection) -> Train:
    """Return what learns a version's successor from what is stored."""

    def train(version: ModelVersion, note: str) -> tuple[int, bool]:
        options = options_of(version, note)
        trained = training.train(settings, connection, options)
        return trained.version.model_id, trained.is_new

    return train


def options_of(version: ModelVersion, note: str) -> TrainOptions:
    """Return how to learn a version's successor: by what it was learned with, of all that is stored by now.

    The source is the one it had, ``events`` of a version that was learned elsewhere.
    """
    parameters: dict[str, Any] = version.parameters
    horizon = parameters.get("horizon_h", parameters.get("horizon_cycles"))
    return TrainOptions(
        version.kind,
        version.machine_type,
        "archive" if version.training.get("source") == "archive" else "events",
        since_ms=parameters.get("since_ms"),
        sensors=tuple(parameters.get("sensors", ())),
        horizon=float(horizon) if horizon is not None else None,
        seed=int(parameters.get("seed", 0)),
        note=note,
    )


def _seconds(option: str, text: str) -> float:
    """Return a length of time in s.

    Examples
    --------
    >>> _seconds("--window", "30d"), _seconds("--interval", "0.5s")
    (2592000.0, 0.5)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    length_s = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if not 0.0 < length_s <= _MOST_S:
        raise SettingsError(f"{option} is {text!r}: give a number of s, m, h or d, as 60s or 30d, at most 10000d")
    return length_s


def _tell(done: Round, *, json: bool) -> None:
    if json:
        print_json(
            {
                "is_alone": done.is_alone,
                "machines": done.machines,
                "days": done.days,
                **{name: [each._asdict() for each in getattr(done, name)] for name in ("quality", "drift", "triggers")},
            }
        )
    elif not done.is_alone:
        sys.stdout.write("another monitor is at work: nothing was done\n")
    else:
        sys.stdout.write(f"labels of {done.machines:,} machines joined, {done.days:,} days of inputs counted\n")
        _print(_QUALITY, done.quality)
        _print(_DRIFT, done.drift[:_MOST_FEATURES])
        sys.stdout.writelines(
            f"model {each.model_id}: {each.reason}: "
            + (f"{each.outcome}: model {each.candidate_id}\n" if each.candidate_id else f"{each.outcome}\n")
            for each in done.triggers
        )
    sys.stdout.flush()


def _print(names: list[str], rows: list[Any]) -> None:
    if rows:
        print_table(
            [name.replace("_", " ") for name in names], [[_shown(getattr(row, name)) for name in names] for row in rows]
        )


def _shown(value: Any) -> Any:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else value

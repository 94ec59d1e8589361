"""Training: a candidate learned from what is stored, judged by machines that taught it nothing, and registered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pipeline import connections
from pipeline.core.errors import PipelineError, SettingsError
from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.failure_type import FailureType
from pipeline.core.prognosis.features import FEATURE_VERSION, sensor_names
from pipeline.core.prognosis.kinds import KNOWN
from pipeline.core.prognosis.maintenance_class import SENSORS, MaintenanceClassModel
from pipeline.core.prognosis.remaining_life import RemainingLife
from pipeline.modelling import learning
from pipeline.modelling.learning import Learned
from pipeline.modelling.machine_split import SPLIT
from pipeline.modelling.monitoring import input_drift
from pipeline.modelling.stored_lives import StoredLives, Tell, Wanted, read
from pipeline.modelling.stored_logs import Source, sensors_of
from pipeline.settings import Settings
from pipeline.store import models
from pipeline.store.connect import Connection
from pipeline.store.models import Candidate, Group, ModelVersion

KINDS = (RemainingLife.kind, FailureType.kind, MaintenanceClassModel.kind)

MOST_SENSORS = 64
"""Of a machine; with more, models of lives would have more features than lives to learn them from."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What is to be learned, and from what.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    since_ms, until_ms
        Event times ``[since, until)``, ms since the epoch, UTC; ``None``: no bound.
    sensors
        What models look at; empty: what nine in ten machines of the type have.
    horizon
        How far ahead: hours of operation, for ``remaining_life``; operating cycles, for ``failure_type``. ``None``: see
        :mod:`pipeline.modelling.learning`.
    seed
        Of everything that is drawn.
    """

    kind: str
    machine_type: str
    source: Source = "events"
    since_ms: int | None = None
    until_ms: int | None = None
    sensors: tuple[str, ...] = ()
    horizon: float | None = None
    seed: int = 0
    note: str = ""


class Trained(NamedTuple):
    """What became of it: a version, and whether it is new or was learned before, to the bit."""

    version: ModelVersion
    is_new: bool


def train(
    settings: Settings, connection: Connection, options: TrainOptions, tell: Tell = lambda _, __, ___: None
) -> Trained:
    """Learn a model from the machines that teach, measure it on those that judge, and keep it as a candidate.

    The same stored events and options give the same bytes. Whatever ends this early, nothing is registered.

    Parameters
    ----------
    connection
        In autocommit mode, of a login that may add models. What is stored is read under the workers' login.
    tell
        Is told how far each partition was read.

    Raises
    ------
    PipelineError
        If there is too little to learn from, or something cannot be read: one line that says what is missing.
    SettingsError
        If an option is wrong, or the login may not add models.
    """
    _require(options)
    models.require_adding(connection)
    is_of_messages = options.kind == MaintenanceClassModel.kind
    bounds = (options.source, options.since_ms, options.until_ms)
    # Who may add models need not be allowed to read what workers keep
    with connections.database(settings, "pipeline models train") as reading:
        sensors = options.sensors or tuple(sensors_of(reading, options.machine_type))
        _require_sensors(options, sensors)
        features = learning.wanted_features(options.kind, sensors)
        wanted = Wanted(options.machine_type, features, sensors if is_of_messages else (), *bounds)
        found = read(settings, reading, wanted, tell)
    taught = found.of(judges=False)
    _require_measured(options, taught, features)
    _require_cycles(options, taught, settings.windows.cycle_gap_ms)
    learned = _learned(options, taught, sensors)
    columns = [features.index(each) for each in learned.model.features] if not is_of_messages else []
    candidate = Candidate(
        options.machine_type,
        artefacts.encode(learned.model, FEATURE_VERSION),
        parameters={"sensors": list(sensors)} | dict(learned.parameters) | _bounds(options),
        training={"source": options.source, "split": SPLIT} | taught.described() | _inputs(learned, taught, columns),
        metrics={"test": measured(learned, found.of(judges=True), columns), "prequential": learned.prequential},
        note=options.note,
    )
    return Trained(*models.add(connection, Group(settings.site.cluster, settings.group), candidate, KNOWN))


def measured(learned: Learned, judges: StoredLives, columns: list[int]) -> dict[str, Any]:
    """Return how a model does on machines that taught it nothing, and how many these are."""
    return judges.counts() | learning.judged(learned.model, judges.lives, columns, judges.messages)


def _inputs(learned: Learned, taught: StoredLives, columns: list[int]) -> dict[str, Any]:
    """Return what monitoring holds the model's inputs against; messages that records name are not those it is asked about."""
    if not columns:
        return {}
    rows = np.concatenate([life.rows[:, columns] for life in taught.lives])
    return {"inputs": input_drift.described(learned.model.features, rows)}


def _learned(options: TrainOptions, taught: StoredLives, sensors: tuple[str, ...]) -> Learned:
    if options.kind == MaintenanceClassModel.kind:
        return learning.maintenance_class(taught.messages, sensors)
    if options.kind == RemainingLife.kind:
        return learning.remaining_life(taught.lives, sensors, options.horizon, options.seed)
    return learning.failure_type(taught.lives, sensors, None if options.horizon is None else int(options.horizon))


def _bounds(options: TrainOptions) -> dict[str, Any]:
    return {"since_ms": options.since_ms, "until_ms": options.until_ms}


def _require(options: TrainOptions) -> None:
    if options.kind not in KINDS:
        raise SettingsError(f"there is no kind of model {options.kind!r}: name one of {', '.join(KINDS)}")
    horizon = options.horizon
    if horizon is None:
        return
    if options.kind == MaintenanceClassModel.kind:
        raise SettingsError("a class of maintenance is of the present: leave --horizon out")
    if not 0.0 < horizon < 1e6 or (options.kind == FailureType.kind and horizon != int(horizon)):
        raise SettingsError(
            f"--horizon is {horizon:g}: give hours of operation for remaining_life, a whole number of cycles for failure_type"
        )


def _require_cycles(options: TrainOptions, taught: StoredLives, cycle_gap_ms: int) -> None:
    if taught.lives or options.kind == MaintenanceClassModel.kind:
        return
    why = "windows.cycle_gap_ms is 0, and above 0 it is what cycles are known by"
    if cycle_gap_ms:
        is_bound = options.since_ms is not None or options.until_ms is not None
        within = " within --from and --until" if is_bound else ""
        why = f"the others never paused for as long as windows.cycle_gap_ms, {cycle_gap_ms / 1000:g} s{within}"
    raise PipelineError(
        f"no operating cycle of a {options.machine_type} that teaches is stored: one in five machines teaches nothing,"
        f" and {why}"
    )


def _require_measured(options: TrainOptions, taught: StoredLives, features: tuple[str, ...]) -> None:
    """Refuse sensors that were named and that no machine has."""
    if not options.sensors or not taught.lives or not features:
        return
    is_measured = np.logical_or.reduce([np.isfinite(life.rows).any(axis=0) for life in taught.lives])
    absent = sensor_names([feature for feature, is_there in zip(features, is_measured, strict=True) if not is_there])
    if absent:
        raise SettingsError(
            f"no {options.machine_type} that teaches has a sensor {absent[0]!r}: name others, with --sensors"
        )


def _require_sensors(options: TrainOptions, sensors: tuple[str, ...]) -> None:
    most = SENSORS if options.kind == MaintenanceClassModel.kind else MOST_SENSORS
    if not sensors:
        raise PipelineError(
            f"no machine of type {options.machine_type!r} is known: `dashboard.machine_state` has those there are"
        )
    if len(sensors) > most:
        raise SettingsError(
            f"machines of type {options.machine_type} have {len(sensors)} sensors, a model looks at {most} at most: name them,"
            " with --sensors"
        )
    if len({*sensors}) < len(sensors) or not all(sensors):
        raise SettingsError("--sensors names one twice, or none: give different names with commas between them")

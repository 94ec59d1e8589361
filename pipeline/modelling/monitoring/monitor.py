"""Monitoring: what models said is held against what came of it, inputs are watched, and a candidate is learned in time.

A round can end anywhere and be done again: machines, days and triggers are transactions of their own. Nothing is ever promoted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog

from pipeline.core.errors import ModelRefused, PipelineError
from pipeline.core.prognosis.artefacts import KnownModels, Model
from pipeline.core.prognosis.model_controls import LIVE, SHADOW
from pipeline.core.prognosis.remaining_life import RemainingLife
from pipeline.core.prognosis.remaining_life_learner import COVERAGE
from pipeline.modelling.monitoring import inputs, quality
from pipeline.modelling.monitoring.inputs import Watched
from pipeline.modelling.monitoring.trigger import Limits, reasons
from pipeline.store import model_drift, model_quality, models
from pipeline.store.connect import Connection
from pipeline.store.model_drift import Drift
from pipeline.store.model_quality import Quality
from pipeline.store.models import Group, ModelVersion

log = structlog.get_logger(__name__)

Train = Callable[[ModelVersion, str], tuple[int, bool]]
"""Learns a candidate in place of a version, with a note; returns its number, and whether it is new."""


class Trigger(NamedTuple):
    """A model that was to be learned anew, why, and what became of it; ``candidate_id`` is ``None`` if nothing did."""

    model_id: int
    reason: str
    candidate_id: int | None
    outcome: str


@dataclass(frozen=True, slots=True)
class Round:
    """What was done and found.

    Parameters
    ----------
    is_alone
        Whether anything was done: else another monitor is at work.
    machines
        Of how many machines what models said was held against records.
    days
        How many days of models had their inputs counted.
    """

    is_alone: bool
    machines: int
    days: int
    quality: list[Quality]
    drift: list[Drift]
    triggers: list[Trigger]


class Monitor:
    """Looks after the models of a group, round by round.

    Parameters
    ----------
    connection
        In autocommit mode, of a login that may change models.
    window_s
        How far back figures go that models are judged by, s.
    """

    def __init__(
        self,
        connection: Connection,
        group: Group,
        known: KnownModels,
        train: Train,
        limits: Limits,
        window_s: float,
    ) -> None:
        self._connection, self._group, self._known = connection, group, known
        self._train, self._limits, self._window_s = train, limits, window_s
        self._models: dict[int, Model | None] = {}

    def once(self) -> Round:
        """Do what there is to do; raises :class:`pipeline.core.errors.SettingsError` if the login may not do it."""
        connection = self._connection
        with model_quality.alone(connection) as is_alone:
            if not is_alone:
                log.info("models.monitored_elsewhere")
                return Round(False, 0, 0, [], [], [])
            machines = quality.join(connection, self._model)
            versions = [each for each in models.all_of(connection, self._group) if each.stage in (LIVE, SHADOW)]
            watched = [
                Watched(each, model.features) for each in versions if (model := self._model(each.model_id)) is not None
            ]
            last = model_drift.last_day(connection)
            days = inputs.count(connection, watched, last)
            reached = model_quality.quality(connection, self._window_s)
            drift = model_drift.newest(connection, [each.version.model_id for each in watched], last)
            triggers = [
                trigger
                for each in versions
                if each.stage == LIVE and (trigger := self._judge(each, reached, drift)) is not None
            ]
        return Round(True, machines, days, reached, drift, triggers)

    def _model(self, model_id: int) -> Model | None:
        """Return a model, which is read once; of one that cannot be read nothing is ever said but this."""
        if model_id not in self._models:
            try:
                version = models.find(self._connection, self._group, model_id)
                self._models[model_id] = models.load(self._connection, version, self._known)
            except (ModelRefused, PipelineError) as error:
                log.warning("model.not_monitored", model_id=model_id, reason=str(error))
                self._models[model_id] = None
        return self._models[model_id]

    def _judge(self, version: ModelVersion, quality: list[Quality], drift: list[Drift]) -> Trigger | None:
        """Learn a candidate if a live model does too badly, at most once a UTC day."""
        mine = next((each for each in quality if each.model_id == version.model_id), None)
        moved = [each for each in drift if each.model_id == version.model_id]
        coverage = _coverage(version) if version.kind == RemainingLife.kind else None
        found = reasons(mine, moved, version.metrics, coverage, self._limits)
        if not found:
            return None
        reason = "; ".join(found)
        with models.changing(self._connection) as cursor:
            day = model_drift.claim(cursor, version.model_id, reason)
        if day is None:
            return None
        candidate, outcome = self._learn(version, reason)
        with models.changing(self._connection) as cursor:
            model_drift.close(cursor, version.model_id, day, candidate, outcome)
        log.warning(
            "model.drifted",
            model_id=version.model_id,
            model=version.name,
            reason=reason,
            candidate=candidate,
            outcome=outcome,
        )
        return Trigger(version.model_id, reason, candidate, outcome)

    def _learn(self, version: ModelVersion, reason: str) -> tuple[int | None, str]:
        try:
            candidate, is_new = self._train(version, f"drift: {reason}")
        except PipelineError as error:
            return None, str(error)
        return candidate, "candidate" if is_new else "the same was learned before"


def _coverage(version: ModelVersion) -> float:
    wanted: Any = version.parameters.get("coverage")
    return float(wanted) if isinstance(wanted, int | float) else COVERAGE

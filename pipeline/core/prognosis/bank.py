"""What a partition holds to predict: the lives of its machines, and the models in force by control records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.detectors.census import Census
from pipeline.core.errors import ModelRefused
from pipeline.core.predictions import ModelReference
from pipeline.core.prognosis import artefacts, kinds, model_controls
from pipeline.core.prognosis.class_bank import ClassBank
from pipeline.core.prognosis.features import FEATURE_VERSION
from pipeline.core.prognosis.lives import MOST_RENEWALS, Gathered, Lives
from pipeline.core.prognosis.model import InForce, plain
from pipeline.core.prognosis.model_controls import LIVE, MOST_SHADOWS, OUT, SHADOW, ModelControl
from pipeline.core.prognosis.witness import Witness

MOST_STRANGERS = 100_000
"""Machines that nothing came from yet, of which maintenance is kept."""


class Forecast(NamedTuple):
    """What a model says of one ended cycle.

    Parameters
    ----------
    cycle
        Which of the batch's.
    """

    cycle: int
    model: ModelReference
    label: str
    value: float
    lower: float
    upper: float
    hours_per_day: float
    inputs: tuple[float, ...]


class PrognosisBank:
    """Lives and models of one partition."""

    def __init__(self) -> None:
        self.lives = Lives()
        self.classes = ClassBank()
        self.in_force: list[InForce] = []
        """In the order in which they came."""
        self._refused: list[str] = []
        self._foretold: dict[str, list[int]] = {}
        self._adopt([])

    def apply(self, body: Mapping[str, Any]) -> None:
        """Let a model be in force from here on, as live one or as shadow, or not any more.

        Parameters
        ----------
        body
            Of the control record. A model that cannot be read is noted as refused, and is not in force.
        """
        try:
            control = model_controls.parse(body)
            loaded = None if control.action == OUT else kinds.read(control.artefact, control.sha256)
        except ModelRefused as error:
            self.refuse(f"model {body.get('model_id')}: {error}")
            return
        kept = [each for each in self.in_force if not _gives_way(each, control)]
        if loaded is not None:
            about = control.model_id, control.kind, control.version, loaded.feature_version, control.action
            kept.append(InForce(ModelReference(*about), control.machine_type, loaded.model, control.artefact))
        shadows = [each for each in kept if each.reference.stage == SHADOW and _is_alike(each, control)]
        # The registry lets no more of them be; should there be more, the oldest gives way
        surplus = shadows[: max(0, len(shadows) - MOST_SHADOWS)]
        self._adopt([each for each in kept if each not in surplus])

    def watch(self, machine_type: str, features: Sequence[str]) -> None:
        """Let what machines of a type give models be told after each cycle, as inputs of predictions of kind ``witness``.

        No control record says so, and the state is not to be kept.
        """
        reference = ModelReference(0, Witness.kind, 0, FEATURE_VERSION, SHADOW)
        self._adopt([*self.in_force, InForce(reference, machine_type, Witness(features), b"")])

    def foretell(self, machine_id: str, at_ms: int) -> None:
        """Note the maintenance of a machine that nothing came from yet, ms since the epoch, UTC; the newest are kept."""
        known = self._foretold.pop(machine_id, [])
        self._foretold[machine_id] = sorted({*known, at_ms})[-MOST_RENEWALS:]
        if len(self._foretold) > MOST_STRANGERS:
            self._foretold.pop(next(iter(self._foretold)))

    def take_foretold(self, machine_id: str) -> list[int]:
        """Return what was noted of a machine, which is met now."""
        return self._foretold.pop(machine_id, [])

    def refuse(self, reason: str) -> None:
        """Note why a control record could not be applied, in one line."""
        self._refused.append(reason)

    def take_refusals(self) -> list[str]:
        """Return what could not be applied, and why, one line each; it is told once."""
        refused, self._refused = self._refused, []
        return refused

    def _adopt(self, in_force: list[InForce]) -> None:
        self.in_force = in_force
        self._of_cycles = [each for each in in_force if each.reference.kind != kinds.MAINTENANCE_CLASS]
        self.classes.adopt([each for each in in_force if each.reference.kind == kinds.MAINTENANCE_CLASS])
        self.lives.want([(each.machine_type, each.model.features) for each in self._of_cycles])

    def take(
        self,
        ended: npt.NDArray[np.void],
        readings: npt.NDArray[np.void],
        census: Census,
        slots: Mapping[tuple[int, str], int],
    ) -> list[Forecast]:
        """Take the cycles that a batch closed; return what the models say of them, in the order of the cycles.

        Parameters
        ----------
        ended, readings, census, slots
            As :meth:`pipeline.core.prognosis.lives.Lives.take` takes them.
        """
        self.lives.grow(census)
        if not len(ended):
            return []
        gathered = self.lives.take(ended, readings, census, slots)
        forecasts = [
            forecast for number, each in enumerate(self._of_cycles) for forecast in _answers(number, each, gathered)
        ]
        return sorted(forecasts, key=lambda forecast: forecast.cycle)

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of what is known, as plain lists and arrays."""
        models = {
            "forecast_models": [plain(each) for each in self.in_force],
            "foretold": [[machine_id, *times] for machine_id, times in self._foretold.items()],
        }
        return self.lives.to_arrays() | self.classes.to_arrays() | models

    def load(self, arrays: Mapping[str, Any]) -> None:
        """Take over what :meth:`to_arrays` described.

        Raises
        ------
        ModelRefused
            If a model that was in force cannot be read any more.
        """
        self.lives.load(arrays)
        self._foretold = {machine_id: times for machine_id, *times in arrays.get("foretold", ())}
        in_force = []
        for *reference, machine_type, artefact in arrays.get("forecast_models", ()):
            model = kinds.read(artefact, artefacts.digest(artefact)).model
            in_force.append(InForce(ModelReference(*reference), machine_type, model, artefact))
        self._adopt(in_force)
        self.classes.load(self.classes.models, arrays)


def _is_alike(each: InForce, control: ModelControl) -> bool:
    return (each.reference.kind, each.machine_type) == (control.kind, control.machine_type)


def _gives_way(each: InForce, control: ModelControl) -> bool:
    """Return whether a model is not in force any more: it is the one that is spoken of, or another one becomes live."""
    if not _is_alike(each, control):
        return False
    takes_place = control.action == LIVE and each.reference.stage == LIVE
    return takes_place or each.reference.model_id == control.model_id


def _answers(number: int, each: InForce, gathered: Gathered) -> list[Forecast]:
    which = np.flatnonzero(gathered.wants == number)
    if not len(which):
        return []
    width = len(each.model.features)
    places = gathered.ends[which][:, None] - width + np.arange(width)
    rows = gathered.values[places]
    answers = kinds.answer(each.model, rows)
    known = np.flatnonzero(np.isfinite(answers.values))
    return [
        Forecast(
            int(gathered.cycles[which[i]]),
            each.reference,
            answers.labels[i],
            float(answers.values[i]),
            float(answers.lower[i]),
            float(answers.upper[i]),
            float(gathered.hours_per_day[which[i]]),
            tuple(rows[i].tolist()),
        )
        for i in known.tolist()
    ]

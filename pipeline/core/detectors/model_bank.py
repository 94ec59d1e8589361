"""The River models of one partition, and what they find."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.detectors.census import Census
from pipeline.core.detectors.configuration import DetectorRules
from pipeline.core.detectors.models import SensorModel


class Alarm(NamedTuple):
    """What a model found: number of its message in the batch, the sensor, the value and its score."""

    message: int
    slot: int
    model: SensorModel
    value: float
    score: float


class ModelBank:
    """The models of all sensors, in the order of sensors."""

    def __init__(self) -> None:
        self._rules: DetectorRules | None = None
        self._models: dict[int, list[SensorModel]] = {}
        self._known = 0
        self._kept: dict[tuple[int, str], bytes] = {}

    def _adopt(self, rules: DetectorRules, census: Census) -> None:
        """Make models for the sensors that are new; by other rules, for all, of which those that stay the same go on."""
        if rules != self._rules:
            self._kept = self._states()
            self._rules, self._models, self._known = rules, {}, 0
        for slot in range(self._known, len(census.sensor_names)):
            made = rules.models(census.machine_types[census.owners[slot]], census.sensor_names[slot])
            for model in made:
                if state := self._kept.get((slot, model.key)):
                    model.load(state)
            if made:
                self._models[slot] = made
        self._known = len(census.sensor_names)
        self._kept = {}

    def inspect(
        self, messages: Any, kept: npt.NDArray[np.bool_], layouts: Any, rules: DetectorRules, census: Census
    ) -> list[Alarm]:
        """Show a batch to the models; return the alarms in the order of messages.

        Parameters as of :meth:`pipeline.core.detectors.bank.DetectorBank.inspect`.
        """
        if not rules.has_models and not self._models and not self._kept:
            return []
        self._adopt(rules, census)
        if not self._models:
            return []
        found: list[Alarm] = []
        numbers, slots = _places(messages, layouts)
        watched = np.zeros(len(census.sensor_names), np.bool_)
        watched[list(self._models)] = True
        for reading in np.flatnonzero(watched[slots] & kept[numbers]).tolist():
            number, slot = int(numbers[reading]), int(slots[reading])
            value, time_ms = float(messages.values[reading]), int(messages.times_ms[number])
            for model in self._models[slot]:
                score, begins = model.observe(census.sensor_names[slot], time_ms, value)
                if begins:
                    found.append(Alarm(number, slot, model, value, score))
        return found

    def _states(self) -> dict[tuple[int, str], bytes]:
        mine = {(slot, model.key): model.to_bytes() for slot, models in self._models.items() for model in models}
        return self._kept | mine

    def to_plain(self) -> list[list[Any]]:
        """Return what the models know, as plain values."""
        return [[slot, key, state] for (slot, key), state in self._states().items()]

    def load(self, plain: Any) -> None:
        """Take over what :meth:`to_plain` described; what is of other models is left alone."""
        self._rules = None
        self._kept = {(int(slot), str(key)): bytes(state) for slot, key, state in plain}


def _places(messages: Any, layouts: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the message and the sensor of each reading; shape (readings,) both."""
    sizes = np.diff(messages.ends, prepend=0)
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(numbers)) - np.repeat(messages.ends - sizes, sizes)
    return numbers, layouts.slots[layouts.starts[messages.layouts[numbers]] + within]

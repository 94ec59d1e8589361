"""Which detectors look at which sensors of which types of machine, and with which parameters."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from pipeline.core.detectors import models
from pipeline.core.detectors.bounds import objection
from pipeline.core.detectors.catalogue import BY_NAME, DETECTORS, Detector
from pipeline.core.detectors.models import SensorModel
from pipeline.core.detectors.policy import AlarmRules, fixed
from pipeline.core.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Choice:
    """How one detector looks at some sensors.

    Parameters
    ----------
    detector
        Its name; or the import path of a River model, such as ``river.anomaly.HalfSpaceTrees``.
    machine_types, sensors
        Patterns with ``*`` and ``?``, one of which has to fit; ``sensors`` says nothing about detectors of whole machines.
    is_on
        Whether it looks at them at all.
    threshold
        Score beyond which a reading is an anomaly; ``None``: the budget of alarms decides.
    parameters
        What differs from the detector's defaults, by name.

    Raises
    ------
    SettingsError
        If there is no such detector or parameter, or a number is not finite.
    """

    detector: str
    machine_types: tuple[str, ...] = ("*",)
    sensors: tuple[str, ...] = ("*",)
    is_on: bool = True
    threshold: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < math.inf:
            raise SettingsError(
                f"the threshold of the detector {self.detector!r} must be > 0 and finite, not {self.threshold}"
            )
        if self.is_model:
            models.check(self.detector, self.parameters)
        else:
            self._check_parameters()

    def _check_parameters(self) -> None:
        if self.detector not in BY_NAME:
            raise SettingsError(
                f"there is no detector {self.detector!r}; there are {', '.join(sorted(BY_NAME))}, and River's by import path"
            )
        detector = BY_NAME[self.detector]
        # A name that both have is the detector's own
        defaults = detector.alarms._asdict() | detector.rules._asdict()
        for name, value in self.parameters.items():
            if name not in defaults:
                raise SettingsError(
                    f"the detector {self.detector!r} has no parameter {name!r}; it has {', '.join(sorted(defaults))}"
                )
            if must_be := objection(name, value, defaults[name]):
                raise SettingsError(
                    f"the parameter {name!r} of the detector {self.detector!r} must be {must_be}, not {value!r}"
                )

    @property
    def is_model(self) -> bool:
        """Whether it names a River model."""
        return self.detector.startswith(models.PREFIX)

    def fits(self, machine_type: str, sensor: str) -> bool:
        """Return whether it is meant for a sensor; ``""``: for a machine as a whole."""
        of_type = any(fnmatchcase(machine_type, pattern) for pattern in self.machine_types)
        return of_type and (not sensor or any(fnmatchcase(sensor, pattern) for pattern in self.sensors))


@dataclass(frozen=True, slots=True)
class Variant:
    """A detector with all its parameters.

    Parameters
    ----------
    rules, alarms
        The parameters of its kernels and of its alarms.
    version
        The detector's own; with other parameters than the defaults, another number that belongs to them.
    """

    detector: Detector
    rules: Any
    alarms: AlarmRules
    version: int

    @property
    def key(self) -> list[Any]:
        """What is the same for the same variant, as plain values: all but the budget, which a state need not forget."""
        return [self.detector.name, self.version, list(self.rules), list(self.alarms._replace(budget=0.0))]


@dataclass(frozen=True, slots=True)
class DetectorRules:
    """All choices, of which the first that fits counts, and the budget.

    Parameters
    ----------
    enabled
        Names of the detectors that are on where no choice says otherwise.
    alarms_per_machine_day
        False alarms that all detectors of a machine may raise together in a day of its operation; > 0.
    """

    enabled: tuple[str, ...] = ()
    alarms_per_machine_day: float = 1.0
    choices: tuple[Choice, ...] = ()

    def __post_init__(self) -> None:
        for name in self.enabled:
            Choice(name)

    def variant(self, detector: Detector, machine_type: str, sensor: str) -> Variant | None:
        """Return how a detector looks at a sensor, or at a machine (``""``); ``None``: not at all."""
        for choice in self.choices:
            if choice.detector == detector.name and choice.fits(machine_type, sensor):
                return self._of(detector, choice) if choice.is_on else None
        return self._of(detector, Choice(detector.name)) if detector.name in self.enabled else None

    def models(self, machine_type: str, sensor: str) -> list[SensorModel]:
        """Return the River models that look at a sensor, newly made; of each path the first choice that fits counts."""
        first: dict[str, Choice] = {}
        for choice in self.choices:
            if choice.is_model and choice.fits(machine_type, sensor):
                first.setdefault(choice.detector, choice)
        return [
            SensorModel(each.detector, each.parameters, each.threshold, self.alarms_per_machine_day)
            for each in first.values()
            if each.is_on
        ]

    @property
    def has_models(self) -> bool:
        """Whether any choice names a River model."""
        return any(choice.is_model for choice in self.choices)

    def _of(self, detector: Detector, choice: Choice) -> Variant:
        rules = detector.rules._replace(**_only(choice.parameters, detector.rules))
        of_alarms = {name: value for name, value in choice.parameters.items() if name not in detector.rules._fields}
        alarms = detector.alarms._replace(budget=self.alarms_per_machine_day)._replace(
            **_only(of_alarms, detector.alarms)
        )
        if choice.threshold is not None:
            alarms = fixed(choice.threshold, alarms)
        return Variant(detector, rules, alarms, _version(detector, rules, alarms))

    @property
    def is_off(self) -> bool:
        """Whether no detector looks at anything."""
        return not self.enabled and not self.choices


def _only(parameters: Mapping[str, Any], rules: Any) -> dict[str, Any]:
    """Return those parameters that rules have, of the same type as the defaults."""
    return {name: type(getattr(rules, name))(value) for name, value in parameters.items() if name in rules._fields}


@lru_cache(maxsize=1024)
def _version(detector: Detector, rules: Any, alarms: AlarmRules) -> int:
    if (rules, alarms._replace(budget=detector.alarms.budget)) == (detector.rules, detector.alarms):
        return detector.version
    words = repr((detector.name, tuple(rules), tuple(alarms._replace(budget=0.0))))
    return detector.version * 1_000_000 + zlib.crc32(words.encode()) % 1_000_000


def all_on(budget: float = 1.0) -> DetectorRules:
    """Return rules by which every detector looks at everything."""
    return DetectorRules(tuple(each.name for each in DETECTORS), budget)

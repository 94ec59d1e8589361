"""Which detectors there are: their kernels' records, their parameters, and how their scores become alarms by default."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.detectors import changes, mixture, multivariate, novelty, stuck
from pipeline.core.detectors.policy import AlarmRules, fixed


@dataclass(frozen=True, slots=True)
class Detector:
    """One detector.

    Parameters
    ----------
    name
        As it is configured, and as it stands in ``anomaly.detector``.
    kind
        Of the anomalies that it finds.
    version
        Raised whenever the same readings give other scores.
    state
        Record of what it knows about one sensor, or one machine.
    rules, alarms
        Its parameters, and those of its alarms, by default.
    of_machine
        Whether it looks at all sensors of a machine together.
    of_readings
        Whether it says of each reading by itself that it is odd, so that two in a row are two anomalies.
    """

    name: str
    kind: str
    version: int
    state: np.dtype[Any]
    rules: Any
    alarms: AlarmRules
    of_machine: bool = False
    of_readings: bool = False


CHANGE = Detector("change", "change_point", 1, changes.STATE, changes.ChangeRules(), AlarmRules(initial=15.0))
STUCK = Detector("stuck", "stuck", 1, stuck.STATE, stuck.StuckRules(), AlarmRules(initial=8.0))
MIXTURE = Detector(
    "mixture", "spike", 1, mixture.STATE, mixture.MixtureRules(), fixed(math.log10(2.0)), of_readings=True
)
NOVELTY = Detector("novelty", "novelty", 2, novelty.QUIET_STATE, novelty.NoveltyRules(), AlarmRules(initial=4.0))
MULTIVARIATE = Detector(
    "multivariate",
    "multivariate",
    1,
    multivariate.STATE,
    multivariate.MultivariateRules(warm_up=1500),
    AlarmRules(initial=20.0),
    of_machine=True,
)

DETECTORS = (CHANGE, STUCK, NOVELTY, MIXTURE, MULTIVARIATE)
"""In the order in which they look at a reading; a detector's place is its number in kernels."""

BY_NAME = {each.name: each for each in DETECTORS}

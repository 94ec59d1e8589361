"""What predictions cost: job J as it is, and with a live model of remaining life for every type of machine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.contestants import PIPELINE, Task
from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.features import FEATURE_VERSION, feature_names
from pipeline.core.prognosis.kinds import KNOWN
from pipeline.core.prognosis.remaining_life import RemainingLife
from pipeline.core.prognosis.remaining_life_learner import RemainingLifeLearner
from pipeline.store import model_stages, models
from pipeline.store.connect import connect
from pipeline.store.models import Candidate, Group
from simulator.facts import COMPONENTS
from simulator.messages import SENSORS

LEAST = 0.8
"""What of job J's own rate has to be left with predictions."""

_LIVES, _CYCLES = 20, 200


def learned() -> RemainingLife:
    """Return a model as large as one that is learned from a plant; what it says of job J's machines means nothing."""
    features = feature_names(SENSORS, ("fast", "fast-slow", "fast-base"), ("age", "log_age"))
    learner, random = RemainingLifeLearner(features, 125.0), np.random.default_rng(0)
    for _ in range(_LIVES):
        left = np.arange(_CYCLES, dtype=np.float64)[::-1]
        rows = random.normal(size=(_CYCLES, len(features))) + left[:, None] / 50
        learner.see(rows)
        learner.learn(rows, left)
    return learner.model()


def _promote(task: Task) -> None:
    artefact, group = artefacts.encode(learned(), FEATURE_VERSION), Group("local", task.group)
    with connect(task.dsn, autocommit=True) as connection:
        for machine_type in COMPONENTS:
            version, _ = models.add(connection, group, Candidate(machine_type, artefact), KNOWN)
            model_stages.promote(connection, group, version.model_id, KNOWN)


REMAINING_LIFE = replace(PIPELINE, name="remaining life", prepare=_promote)

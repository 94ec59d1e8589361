"""Any River model as a detector of single sensors: named by its import path, born at first sight of a sensor.

They cost what River costs, some µs per reading, and only where a choice names them.
"""

from __future__ import annotations

import importlib
import inspect
import io
import json
import math
import pickle
import zlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
from river import base

from pipeline.core.compiling import record
from pipeline.core.detectors import policy, pool
from pipeline.core.detectors.policy import AlarmRules, fixed
from pipeline.core.errors import SettingsError

PREFIX = "river."
_SEED = 0
_ALARMS = record([("score", policy.STATE), ("pool", pool.STATE)])
_RIVER = metadata.version("river")
_PLAIN = {
    "builtins": {
        "bool",
        "bytearray",
        "complex",
        "dict",
        "float",
        "frozenset",
        "int",
        "list",
        "object",
        "range",
        "set",
        "slice",
        "str",
        "tuple",
    },
    "collections": {"deque", "OrderedDict", "defaultdict", "Counter"},
    "copyreg": {"_reconstructor", "__newobj__"},
    "functools": {"partial"},
    "random": {"Random"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
}
"""What a model may hold beside parts of River."""


def model_class(path: str) -> type[Any]:
    """Return the class with an import path; raises :class:`SettingsError` if it is no anomaly or drift detector of River."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"there is no model {path!r}: {error}") from error
    kinds = (base.AnomalyDetector, base.SupervisedAnomalyDetector, base.DriftDetector)
    if not (inspect.isclass(found) and issubclass(found, kinds)):
        raise SettingsError(f"{path!r} is neither an anomaly detector nor a drift detector of River")
    return found


def new_model(path: str, parameters: Mapping[str, Any]) -> Any:
    """Return a model that has learned nothing; where it draws and no ``seed`` is given, always the same.

    Raises
    ------
    SettingsError
        If the parameters are not those of the class.
    """
    found = model_class(path)
    given = dict(parameters)
    if "seed" in inspect.signature(found).parameters:
        given.setdefault("seed", _SEED)
    try:
        return found(**given)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"the model {path!r} is not made from {given}: {error}") from error


def check(path: str, parameters: Mapping[str, Any]) -> None:
    """Make a model once, as a trial; raises :class:`SettingsError` if it cannot be made, or not be kept over a restart."""
    model = SensorModel(path, parameters, None, 1.0)
    try:
        model.load(model.to_bytes())
    except Exception as error:  # whatever a class has against it
        raise SettingsError(f"the model {path!r} cannot be kept over a restart: {error}") from error


class SensorModel:
    """A model of one sensor, with the policy of its alarms.

    Parameters
    ----------
    path, parameters
        Which class, and what it is made from; names of :class:`AlarmRules` are those of its alarms.
    threshold
        Score beyond which an alarm begins; ``None``: a budget decides, which the model has to itself.
    budget
        False alarms per machine and day.
    """

    def __init__(self, path: str, parameters: Mapping[str, Any], threshold: float | None, budget: float) -> None:
        alarms = AlarmRules(budget=budget) if threshold is None else fixed(threshold)
        of_alarms = {name: value for name, value in parameters.items() if name in AlarmRules._fields}
        self._alarms = alarms._replace(**of_alarms)
        own = {name: value for name, value in parameters.items() if name not in of_alarms}
        self._model = new_model(path, own)
        self._policy = np.zeros(1, _ALARMS)
        self.path = path
        # Neither River's pickles nor the policy's records survive an upgrade
        self.key = json.dumps([path, own, list(self._alarms), _RIVER, _ALARMS.descr], sort_keys=True)

    @property
    def kind(self) -> str:
        """Kind of the anomalies that it finds: the name of its class."""
        return self.path.rpartition(".")[2]

    @property
    def version(self) -> int:
        """Another number for other parameters, and for another version of River."""
        return 1_000_000 + zlib.crc32(self.key.encode()) % 1_000_000

    def observe(self, sensor: str, time_ms: int, value: float) -> tuple[float, bool]:
        """Score a reading, then learn it; return the score and whether an alarm begins."""
        score = self._score(sensor, value)
        if not math.isfinite(score):
            score = 0.0
        return score, bool(
            policy.decide(self._policy[0]["score"], self._policy[0]["pool"], self._alarms, time_ms, score)
        )

    def _score(self, sensor: str, value: float) -> float:
        model = self._model
        if isinstance(model, base.DriftDetector):
            model.update(value)
            return float(model.drift_detected)
        given = ({}, value) if isinstance(model, base.SupervisedAnomalyDetector) else ({sensor: value},)
        try:
            score = float(model.score_one(*given))
        except (ArithmeticError, LookupError, ValueError):
            # Some cannot score before they have learned enough
            score = 0.0
        model.learn_one(*given)
        return score

    def to_bytes(self) -> bytes:
        """Return what it knows."""
        return pickle.dumps((self._model, self._policy.tobytes()), protocol=4)

    def load(self, state: bytes) -> None:
        """Take over what :meth:`to_bytes` gave of a model with the same key."""
        self._model, policy_bytes = _Unpickler(io.BytesIO(state)).load()
        self._policy = np.frombuffer(policy_bytes, _ALARMS).copy()


class _Unpickler(pickle.Unpickler):
    """Makes parts of River, numbers and containers; whatever else somebody has put into a snapshot is not called."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _PLAIN.get(module, ()):
            return super().find_class(module, name)
        # What River's modules have imported is none of River's
        if f"{module}.".startswith(PREFIX) and "." not in name:
            found = super().find_class(module, name)
            if f"{getattr(found, '__module__', '')}.".startswith(PREFIX):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a model")

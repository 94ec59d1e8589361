"""Where a prediction or an anomaly comes from, and whether the same comes out when it is worked out again."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pipeline import connections, rules
from pipeline.core.anomalies import Anomaly
from pipeline.core.detectors.catalogue import BY_NAME
from pipeline.core.errors import NotReproducible, PipelineError
from pipeline.core.predictions import Prediction
from pipeline.core.prognosis import kinds
from pipeline.core.prognosis.artefacts import Model
from pipeline.core.silence import SILENT
from pipeline.core.spikes import DETECTOR
from pipeline.modelling.refolding import Refolded, Told, refold
from pipeline.settings import Settings
from pipeline.store import history, lineage, models
from pipeline.store.connect import Connection
from pipeline.store.lineage import Derived, StoredAnomaly, StoredMessage, StoredPrediction
from pipeline.store.migrate import require_schema
from pipeline.store.models import Group, ModelVersion

TOLERANCE = 1e-9
"""Largest difference of numbers that are the same, relative to the larger of 1 and the stored one."""

_ANSWER = ("label", "value", "lower", "upper")


class Compared(NamedTuple):
    """One value as it is stored and as it came out again; ``None``: nothing did."""

    name: str
    stored: Any
    again: Any

    @property
    def is_same(self) -> bool:
        """Whether both are the same; two that are no numbers are."""
        if self.stored == self.again:
            return True
        if not isinstance(self.stored, float) or not isinstance(self.again, float):
            return False
        if math.isnan(self.stored):
            return math.isnan(self.again)
        return math.isfinite(self.stored) and abs(self.stored - self.again) <= TOLERANCE * max(1.0, abs(self.stored))


@dataclass(frozen=True, slots=True)
class Again:
    """Something that was worked out again.

    Parameters
    ----------
    by
        From what: ``inputs``, the stored ones, or ``fold``, from the stored messages.
    values
        What came out; empty: it could not be done.
    from_offset, events
        Where folding began, and how many messages were folded.
    note
        What is not as it was then, or why it could not be done; empty: nothing.
    """

    by: str
    values: tuple[Compared, ...] = ()
    from_offset: int | None = None
    events: int | None = None
    note: str = ""

    @property
    def is_same(self) -> bool:
        """Whether all came out as it is stored."""
        return bool(self.values) and all(each.is_same for each in self.values)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where something comes from.

    Parameters
    ----------
    what
        ``prediction`` or ``anomaly``.
    stored
        Its row.
    model
        Which said it, as it is in the registry.
    inputs
        What the model was given, by name; NaN: nothing was known.
    limit
        What an anomaly had to exceed, in words, and the number.
    again
        In how many ways it was worked out again.
    """

    what: str
    stored: StoredPrediction | StoredAnomaly
    model: ModelVersion | None
    inputs: Mapping[str, float]
    limit: tuple[str, float] | None
    again: tuple[Again, ...]

    @property
    def is_same(self) -> bool:
        """Whether the same came out in every way that was tried."""
        return all(each.is_same for each in self.again)

    @property
    def obstacle(self) -> str:
        """Why nothing can be said of what did not come out the same, in one line; empty: it differs, or it does not."""
        differing = [each for each in self.again if not each.is_same]
        return "; ".join(each.note for each in differing) if all(each.note for each in differing) else ""


def explain(
    settings: Settings, event_id: uuid.UUID, *, refolds: bool = False, told: Told = lambda *_: None
) -> Explanation | StoredMessage:
    """Return where a prediction or an anomaly comes from, worked out again; of a message, what was found in it.

    A prediction is answered again from its stored inputs by the stored model. An anomaly depends on all that its detector has
    seen before: its partition is folded again up to it.

    Parameters
    ----------
    refolds
        Whether a prediction's inputs are worked out again too, as an anomaly is.
    told
        Told how far folding is.

    Raises
    ------
    PipelineError
        If nothing has this id, or database or archive do not answer.
    ModelRefused
        If the model is damaged.
    """
    with connections.database(settings, "pipeline models") as connection:
        require_schema(connection)
        if (prediction := lineage.prediction(connection, event_id)) is not None:
            return _of_prediction(settings, connection, prediction, told if refolds else None)
        if (anomaly := lineage.anomaly(connection, event_id)) is not None:
            return _of_anomaly(settings, connection, anomaly, told)
        if (message := lineage.message(connection, event_id)) is not None:
            return message
    raise PipelineError(
        f"no prediction, anomaly or message has the id {event_id}: dropped because of its age, or mistyped"
    )


def _of_prediction(
    settings: Settings, connection: Connection, stored: StoredPrediction, told: Told | None
) -> Explanation:
    version = models.find(connection, Group(settings.site.cluster, settings.group), stored.model_id)
    model = models.load(connection, version, kinds.KNOWN)
    again = [_answered(model, stored)]
    if told is not None:
        again.append(_refolded(settings, connection, stored, told)[0])
    inputs = dict(zip(model.features, stored.inputs, strict=True))
    return Explanation("prediction", stored, version, inputs, None, tuple(again))


def _answered(model: Model, stored: StoredPrediction) -> Again:
    if len(stored.inputs) != len(model.features):
        raise PipelineError(
            f"the prediction has {len(stored.inputs)} inputs and its model takes {len(model.features)}: one of them is damaged"
        )
    answers = kinds.answer(model, np.array([stored.inputs], np.float64))
    found = (answers.labels[0], float(answers.values[0]), float(answers.lower[0]), float(answers.upper[0]))
    values = zip(_ANSWER, (getattr(stored, name) for name in _ANSWER), found, strict=True)
    return Again("inputs", tuple(Compared(*each) for each in values))


def _of_anomaly(settings: Settings, connection: Connection, stored: StoredAnomaly, told: Told) -> Explanation:
    again, folded = _refolded(settings, connection, stored, told)
    return Explanation("anomaly", stored, None, {}, _limit(settings, stored, folded), (again,))


def _refolded(
    settings: Settings, connection: Connection, stored: StoredPrediction | StoredAnomaly, told: Told
) -> tuple[Again, Refolded | None]:
    """Return what is stored as the fold finds it again."""
    try:
        _require_present(settings, connection, stored)
        folded = refold(settings, connection, stored, told)
    except NotReproducible as error:
        return Again("fold", note=str(error)), None
    if isinstance(stored, StoredPrediction):
        values = _predicted(stored, [each for effects in folded.effects for each in effects.predictions])
    else:
        values = _found(stored, [each for effects in folded.effects for each in effects.anomalies])
    return Again("fold", tuple(values), folded.from_offset, folded.events, folded.note), folded


def _require_present(settings: Settings, connection: Connection, stored: Derived) -> None:
    """Check that offsets mean today what they meant then."""
    if stored.cluster != settings.site.cluster:
        raise NotReproducible(f"it is of the cluster {stored.cluster}, and the settings are of {settings.site.cluster}")
    since = history.log_since(connection, rules.progress(settings, ""), stored.source)
    if since is not None and stored.stored_time < since:
        raise NotReproducible(
            f"the log of {stored.source} was lost at {since:%Y-%m-%d %H:%M}Z: its offsets mean others now"
        )


def _predicted(stored: StoredPrediction, found: Sequence[Prediction]) -> list[Compared]:
    wanted = (stored.source_offset, stored.source_index, stored.machine_id, stored.model_id, stored.kind)
    same = [p for p in found if (p.offset, p.index, p.machine_id, p.model.model_id, p.model.kind) == wanted]
    again = same[0] if same else None
    names = (*_ANSWER, "hours_per_day", "by_rules")
    values = [Compared(name, getattr(stored, name), getattr(again, name, None)) for name in names]
    values.append(Compared("stage", stored.stage, again.model.stage if again else None))
    inputs = (
        again.inputs if again is not None and len(again.inputs) == len(stored.inputs) else [None] * len(stored.inputs)
    )
    # By place here; whoever shows them has the names
    return values + [
        Compared(f"input {n}", one, other) for n, (one, other) in enumerate(zip(stored.inputs, inputs, strict=True), 1)
    ]


def _found(stored: StoredAnomaly, found: Sequence[Anomaly]) -> list[Compared]:
    wanted = (stored.source_offset, stored.source_index, stored.machine_id, stored.sensor, stored.kind)
    same = [a for a in found if (a.offset, a.index, a.machine_id, a.sensor, a.kind) == wanted]
    again = same[0] if same else None
    values = [
        Compared(name, getattr(stored, name), getattr(again, name, None)) for name in ("value", "expected", "score")
    ]
    detector, version = again.detector if again is not None else (None, None)
    return [
        *values,
        Compared("detector", stored.detector, detector),
        Compared("detector_version", stored.detector_version, version),
    ]


def _limit(settings: Settings, stored: StoredAnomaly, folded: Refolded | None) -> tuple[str, float] | None:
    """Return what the score had to exceed by the present settings, or the budget that decided what it had to."""
    if stored.kind == SILENT:
        return "longest silence, s", stored.expected
    found = rules.fold_rules(settings)
    if stored.detector == DETECTOR:
        return "threshold", found.spikes.threshold
    row = folded.state.row_of(stored.machine_id) if folded is not None else None
    if folded is None or row is None:
        return None
    known, machine_type = BY_NAME.get(stored.detector), folded.state.first_types[row]
    sensor = "" if known is not None and known.of_machine else stored.sensor
    fitting = (c for c in found.detectors.choices if c.detector == stored.detector and c.fits(machine_type, sensor))
    choice = next(fitting, None)
    if choice is not None and choice.threshold is not None:
        return "threshold", choice.threshold
    budget = choice.parameters.get("budget") if choice is not None else None
    return "false alarms per machine and day", float(budget or found.detectors.alarms_per_machine_day)

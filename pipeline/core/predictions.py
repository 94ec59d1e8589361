"""What models say of a machine's future: how long it will last, how it will fail, which maintenance it wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class ModelReference(NamedTuple):
    """Which model said something.

    Parameters
    ----------
    model_id
        Its number in the registry.
    kind
        What it predicts: ``remaining_life``, ``failure_type`` or ``maintenance_class``.
    version
        Counted from 1 for each kind and machine type.
    feature_version
        Of the features that it takes.
    stage
        ``live`` or ``shadow``, when it said so.
    """

    model_id: int
    kind: str
    version: int
    feature_version: int
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What one model says of one machine, where an operating cycle ended or a message was judged.

    Parameters
    ----------
    offset, index
        Source position of the message by which it was found, and its place in an array record. The message may be another
        machine's: a cycle ends too when the others' time has left it behind.
    time_ms, ingest_ms
        Event time that it is about, and the broker's time of the message; ms since the epoch, UTC.
    message_ms
        Event time of the message, ms since the epoch, UTC: what its id is made of.
    label
        The class that is most likely, in words; empty where a number is predicted.
    value, lower, upper
        The number with its interval (remaining life: hours of operation, ≥ 0); else the class's probability, three times.
    inputs
        What the model was given, in the order of its features.
    hours_per_day
        How much the machine works, hours of operation per calendar day, in [0, 24]: remaining life in days is its quotient
        by this. 0: not known.
    by_rules
        The class that rules say; empty where they say nothing of it.
    """

    offset: int
    index: int
    machine_id: str
    factory_id: str
    time_ms: int
    ingest_ms: int
    message_ms: int
    model: ModelReference
    label: str
    value: float
    lower: float
    upper: float
    inputs: tuple[float, ...]
    hours_per_day: float = 0.0
    by_rules: str = ""

    @property
    def identity(self) -> str:
        """What tells it from everything else that was found in the same message."""
        return f"{self.machine_id}\0{self.model.kind}\0{self.model.model_id}"

"""Facts: accepted messages that are no telemetry. Each is an event with its raw body, and a row of its own table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

TELEMETRY_INGEST = "Telemetry Ingest"
QUALITY_REPORTED = "Quality Reported"
MAINTENANCE_PERFORMED = "Maintenance performed"

METADATA_CHANGED = "Metadata changed"
METADATA_UNCHANGED = "Metadata unchanged"

FAILURE = "failure"
"""Kind of maintenance records that tell of a failure; all others tell of maintenance that came before one."""

INGESTED = (TELEMETRY_INGEST, QUALITY_REPORTED, MAINTENANCE_PERFORMED, METADATA_CHANGED, METADATA_UNCHANGED)
"""Event types of what came in; all others are derived from these."""

MESSAGE_TYPES: Mapping[str, str] = MappingProxyType(
    {
        QUALITY_REPORTED: "quality",
        MAINTENANCE_PERFORMED: "maintenance",
        METADATA_CHANGED: "command",
        METADATA_UNCHANGED: "command",
    }
)
"""What a fact of an event type calls its own ``type``, also where only its record's headers had said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What all facts share.

    Parameters
    ----------
    offset, index
        Source position of the message, and its place in an array record (else 0).
    machine_id, factory_id
        Whom it is about.
    time_ms, ingest_ms
        Event time and the broker's time, ms since the epoch, UTC.
    body
        The message as it came: a raw JSON object.
    """

    event_type: ClassVar[str]

    offset: int
    index: int
    machine_id: str
    factory_id: str
    time_ms: int
    ingest_ms: int
    body: bytes

    @property
    def entity_type(self) -> str:
        """What its event is about."""
        return "machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport(Fact):
    """What a machine made of one SKU in a period, as the MES has it; its event time is the period's end.

    Parameters
    ----------
    sku
        What was made.
    start_ms
        When the period began, ms since the epoch, UTC; before ``time_ms``.
    good, snag, reject
        Pieces; ≥ 0.
    planned_s, run_s, ideal_cycle_s
        Planned and actual running time, and the least time that a piece can take, s; ≥ 0. It may run longer than planned.
    line_id
        The machine's line; empty: not known.
    """

    event_type: ClassVar[str] = QUALITY_REPORTED

    sku: str
    start_ms: int
    good: int
    snag: int
    reject: int
    planned_s: float
    run_s: float
    ideal_cycle_s: float
    line_id: str = ""


def ends_life(kind: str, requirement: int) -> bool:
    """Return whether a machine is as new after a maintenance record: not if somebody only looked, class 0.

    Examples
    --------
    >>> [ends_life("planned", -1), ends_life("planned", 3), ends_life("planned", 0), ends_life("failure", 0)]
    [True, True, False, True]
    """
    return kind == FAILURE or requirement != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceRecord(Fact):
    """What was done to a machine, or that it failed.

    Parameters
    ----------
    kind
        ``planned``, ``unplanned`` or ``failure``.
    component
        Which part of the machine.
    note
        In somebody's words; may be empty.
    requirement
        The class of maintenance that it was, from 0 (nothing was to be done) to 5; -1: nobody has said.
    """

    event_type: ClassVar[str] = MAINTENANCE_PERFORMED

    kind: str
    component: str
    note: str = ""
    requirement: int = -1

"""What came out: figures of everything, and of every machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

DEFECTS: Mapping[str, str] = MappingProxyType(
    {
        "lost": "messages that were sent and are not stored",
        "doubled": "events that are stored twice",
        "unexpected": "messages that the plant did not send",
        "unreadable": "events that are no message",
        "above_marks": "events beyond the mark of their partition",
        "unaccounted": "offsets of which nothing is stored",
        "windows_wrong": "windows that are wrong, absent or too many",
        "states_wrong": "machines whose state is wrong",
        "predictions_misplaced": "predictions of models that were not in force",
    }
)
"""Figures that must be 0, and what each counts."""


@dataclass(frozen=True, slots=True)
class MachineFigures:
    """The figures of one machine, as those of a :class:`Verification`; ``None``: cannot be told."""

    machine_id: str
    sent: int | None
    stored: int
    lost: int | None
    doubled: int
    unexpected: int | None
    unreadable: int | None
    above_marks: int
    windows: int
    windows_wrong: int
    states_wrong: int | None
    device_duplicates: int | None
    unverified: int
    dead_letters: int | None
    refused: int | None
    out_of_order: int
    late: int | None
    sequence_gaps: int
    sequence_missing: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None

    @property
    def defects(self) -> int:
        """How much is wrong."""
        return sum(getattr(self, name, None) or 0 for name in DEFECTS)


@dataclass(frozen=True, slots=True)
class Verification:
    """The tables judged, by a ledger or by themselves; numbers of messages unless said otherwise.

    With a ledger, ``sent = stored + lost + refused + dead_letters +`` the device duplicates that were dropped. ``None`` is
    what cannot be told: without a ledger what was sent, and within bounds what only whole source partitions tell.

    Parameters
    ----------
    sent
        Rows of the ledger, garbage and duplicates included.
    stored
        Of those, the ones that are in ``event``; without a ledger, messages in ``event``.
    lost
        Neither in ``event`` nor a dead letter, and no duplicate that was rightly dropped. A message of which every copy
        is missing is lost once.
    doubled
        Rows of ``event`` too many: of a source key that is there already, or of a device's duplicate that the fold
        remembered (its memory is :data:`pipeline.core.banks.MEMORY` accepted messages of the machine).
    unexpected
        Rows of ``event`` from the ledger's topics that are not in it, or have another machine or event time, or are
        garbage.
    device_duplicates
        Messages whose machine had sent the same seq and event time into the same partition before.
    unverified
        Of those, the ones that were rightly accepted: the fold could not remember them any more.
    dead_letters
        Garbage that is a dead letter, as it should be.
    refused
        Sound messages that became dead letters.
    windows, windows_wrong
        Rows of ``reading_window`` (with a ledger: for its machines); those that differ from the stored messages' readings
        (count, min, max, last; mean and standard deviation by more than 1e-9 · max(abs(mean), sd)), are absent, or are too
        many.
    anomalies, anomalies_true, anomalies_found
        Rows of ``anomaly`` from the ledger's topics; readings of stored messages that the plant made odd; those of them
        that have a row of the same sensor and kind.
    predictions, predictions_misplaced
        Rows of ``maintenance_prediction``; those of a model that, by the control records, was not in force at their place, or
        as another than they say.
    unreadable
        Rows of ``event`` whose body is no message, or of another machine or time than the row says.
    above_marks
        Rows of ``event`` at or after their source partition's effects mark.
    unaccounted
        Offsets before the windows marks that have no event, no dead letter and no gap, and are not made up for by dropped
        duplicates.
    states_wrong
        Rows of ``machine_state`` that count fewer messages than are stored, or were last seen earlier, or are absent; where
        whole source partitions are stored, also those that count more or were last seen later.
    out_of_order
        Stored messages that are older than one of their machine before them in their source partition.
    late
        Stored messages whose window was complete when they came.
    sequence_gaps, sequence_missing
        Gaps in machines' sequence numbers, and how many numbers are missing in them.
    latency_ms
        From the broker's time of a record to the commit of its row, ms: p50, p95, p99, max; ``None`` if nothing is stored.
    examples
        The first few defects of each sort, as ``topic:partition:offset:index machine`` or machine, sensor, window.
    gaps
        The first few gaps in sequence numbers.
    notes
        What must be known to read the numbers.
    machines
        The figures of every machine, the worst first.
    """

    sent: int | None
    stored: int
    lost: int | None
    doubled: int
    unexpected: int | None
    device_duplicates: int | None
    unverified: int
    dead_letters: int | None
    refused: int | None
    windows: int
    windows_wrong: int
    anomalies: int | None
    anomalies_true: int | None
    anomalies_found: int | None
    predictions: int
    predictions_misplaced: int
    unreadable: int | None
    above_marks: int
    unaccounted: int | None
    states_wrong: int | None
    out_of_order: int
    late: int | None
    sequence_gaps: int
    sequence_missing: int
    latency_ms: dict[str, float] | None
    examples: tuple[str, ...]
    gaps: tuple[str, ...]
    notes: tuple[str, ...]
    machines: tuple[MachineFigures, ...]

    @property
    def holds(self) -> bool:
        """Whether everything is there, once, and rightly added up, as far as can be told."""
        return not any(getattr(self, name) for name in DEFECTS)

    @property
    def summary(self) -> dict[str, Any]:
        """All of it but the machines, as JSON can say it."""
        said = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "machines"}
        return {"holds": self.holds, **said, **{name: list(said[name]) for name in ("examples", "gaps", "notes")}}

    @property
    def machine_rows(self) -> list[dict[str, Any]]:
        """The machines, as JSON can say it."""
        return [asdict(machine) for machine in self.machines]


def complaints(figures: Mapping[str, Any]) -> list[str]:
    """Return why a summary does not hold, a line for each figure that is not 0.

    Examples
    --------
    >>> complaints({"holds": False, "lost": 1_200, "doubled": 0, "unexpected": 277, "unreadable": None})
    ['1,200 messages that were sent and are not stored', '277 messages that the plant did not send']
    """
    return [f"{figures[name]:,} {what}" for name, what in DEFECTS.items() if figures.get(name)]


def worst_first(machines: Sequence[MachineFigures]) -> tuple[MachineFigures, ...]:
    """Return machines by what is wrong, then by what their devices left out, by disorder and by latency."""
    return tuple(
        sorted(
            machines,
            key=lambda each: (
                -each.defects,
                -each.sequence_gaps,
                -each.out_of_order - (each.late or 0),
                -(each.latency_max_ms or 0.0),
                each.machine_id,
            ),
        )
    )

"""Machines at first sight: those that nobody has added, in the first message that their partition accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.columns import Columns


@dataclass(frozen=True, slots=True)
class NewMachine:
    """A machine that nobody has added, in the first message that its partition accepted.

    Parameters
    ----------
    offset, index
        Source position of the message, and its place in an array record.
    time_ms, ingest_ms
        Event time and the broker's time, ms since the epoch, UTC.
    """

    offset: int
    index: int
    machine_id: str
    factory_id: str
    machine_type: str
    time_ms: int
    ingest_ms: int


def first_messages(columns: Columns, machine_ids: Sequence[str]) -> list[NewMachine]:
    """Return some machines of a batch, each with its first message there; in (offset, index) order."""
    wanted, first = set(machine_ids), dict[str, int]()
    for message, machine_id in enumerate(columns.machine_ids if wanted else ()):
        if machine_id in wanted:
            first.setdefault(machine_id, message)
    return [
        NewMachine(**columns.place_of(message), machine_type=columns.machine_types[message])
        for message in first.values()
    ]

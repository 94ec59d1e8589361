"""What follows from messages that ask for maintenance: changes of a machine's class, corrections of windows, counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt

from pipeline.core.columns import Columns
from pipeline.core.maintenance.judgement import WINDOW_MS, Judgement
from pipeline.core.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfMessage:
    """What follows from one message.

    Parameters
    ----------
    offset, index
        Source position of the message, and its place in an array record.
    time_ms, ingest_ms
        Event time and the broker's time, ms since the epoch, UTC.
    requirement
        Class, 0 to 5.
    """

    offset: int
    index: int
    machine_id: str
    factory_id: str
    time_ms: int
    ingest_ms: int
    requirement: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementChange(_OfMessage):
    """A machine whose class is another one than before.

    Parameters
    ----------
    line_id
        The line that the machine belongs to; empty: nobody has said.
    previous
        Its class before; -1: its partition had judged nothing of it.
    rule_id, rule_version, name
        The rule that says so; empty and 0 where none does, which is class 0.
    readings
        Those of the message that rules look at.
    """

    line_id: str
    previous: int
    rule_id: str
    rule_version: int
    name: str
    readings: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalculation(_OfMessage):
    """A window that was over, and that a late message corrects.

    Parameters
    ----------
    start_ms
        Where the window begins, ms since the epoch, UTC.
    """

    start_ms: int


@dataclass(frozen=True, slots=True)
class RequirementRows:
    """Counts of messages by class, machine, factory and window; all of length n.

    Parameters
    ----------
    counts
        Shape (n,) of :data:`pipeline.core.maintenance.judgement.COUNT`.
    starts_ms
        Window starts, ms since the epoch, UTC.
    requirements
        Classes; shape (n,).
    """

    counts: npt.NDArray[np.void]
    starts_ms: npt.NDArray[np.int64]
    requirements: npt.NDArray[np.int64]
    machine_ids: list[str]
    factory_ids: list[str]

    def where(self, chosen: npt.NDArray[np.bool_]) -> RequirementRows:
        """Return the chosen rows; ``chosen`` has shape (n,)."""
        which = chosen.tolist()
        return RequirementRows(
            self.counts[chosen],
            self.starts_ms[chosen],
            self.requirements[chosen],
            list(compress(self.machine_ids, which)),
            list(compress(self.factory_ids, which)),
        )


def changes(
    found: npt.NDArray[np.void], columns: Columns, judgement: Judgement, registry: Registry
) -> list[RequirementChange]:
    """Return changes of class, in (offset, index) order.

    Parameters
    ----------
    found
        Some of what :meth:`pipeline.core.maintenance.judgement.Judgement.judge` found, shape (n,).
    columns
        The batch in which it was found.
    """
    compiled, made = judgement.rules, []
    for message, rule, before, after in found.tolist():
        said = compiled.rules[rule] if rule >= 0 else None
        made.append(
            RequirementChange(
                **columns.place_of(message),
                requirement=after,
                previous=before,
                line_id=registry.line_of(columns.machine_ids[message]),
                rule_id=said.id if said else "",
                rule_version=said.version if said else 0,
                name=said.name if said else "",
                readings=compiled.led_to(columns.readings_of(message)),
            )
        )
    return made


def recalculations(found: npt.NDArray[np.void], columns: Columns) -> list[Recalculation]:
    """Return corrections of windows that were over, in (offset, index) order; parameters as of :func:`changes`."""
    return [
        Recalculation(
            **columns.place_of(message),
            requirement=requirement,
            start_ms=int(columns.times_ms[message]) // WINDOW_MS * WINDOW_MS,
        )
        for message, requirement in found.tolist()
    ]

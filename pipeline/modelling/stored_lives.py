"""Lives of machines of one type, and messages with a class, from what is stored; see :mod:`pipeline.modelling.gathering`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline import rules
from pipeline.core.records import SourcePartition
from pipeline.modelling.classed import Classed, ClassedMessages, classed
from pipeline.modelling.gathering import Gathering, bare
from pipeline.modelling.labelled import EVER_MS, LabelledLife, in_order, lives_of, of_machine
from pipeline.modelling.machine_split import is_judge
from pipeline.modelling.stored_logs import Source, StoredLogs
from pipeline.settings import Settings
from pipeline.store.connect import Connection

Tell = Callable[[str, int, int], None]
"""Called with what is done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of what is stored, what is wanted.

    Parameters
    ----------
    features
        Of each operating cycle.
    sensors
        Of messages with a class; none: no messages are wanted.
    since_ms, until_ms
        Event times ``[since, until)``, ms since the epoch, UTC; ``None``: no bound.
    """

    machine_type: str
    features: tuple[str, ...]
    sensors: tuple[str, ...] = ()
    source: Source = "events"
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def between_ms(self) -> tuple[int, int]:
        """The bounds, as numbers."""
        return (
            EVER_MS[0] if self.since_ms is None else self.since_ms,
            EVER_MS[1] if self.until_ms is None else self.until_ms,
        )


class StoredLives(NamedTuple):
    """What was found.

    Parameters
    ----------
    lives
        In the order in which they ended.
    messages
        Those with a class.
    folded
        How many messages were read, of machines of all types.
    offsets
        Which: topic, partition, ``[from, to)``.
    """

    lives: list[LabelledLife]
    messages: Classed
    folded: int
    offsets: dict[str, dict[str, list[int]]]

    def of(self, *, judges: bool) -> StoredLives:
        """Return what is of the machines that judge, or that teach."""
        chosen = np.array([is_judge(each) == judges for each in self.messages.machine_ids], np.bool_)
        lives = [life for life in self.lives if is_judge(life.machine_id) == judges]
        return self._replace(lives=lives, messages=self.messages.where(chosen))

    def counts(self) -> dict[str, int]:
        """Return how much there is."""
        failures = sum(life.failed is not None for life in self.lives)
        return {
            "machines": len({life.machine_id for life in self.lives} | {*self.messages.machine_ids}),
            "lives": len(self.lives),
            "failures": failures,
            "censored": len(self.lives) - failures,
            "cycles": sum(len(life.ends_ms) for life in self.lives),
            "classed_messages": len(self.messages.classes),
        }

    def described(self) -> dict[str, Any]:
        """Return where it came from, for whoever looks at a model that was taught by it."""
        times_ms = [int(each) for life in self.lives for each in (life.ends_ms[0], life.ends_ms[-1])]
        bounds = (min(times_ms), max(times_ms)) if times_ms else ()
        named = dict(zip(("from_time", "to_time"), map(_iso, bounds), strict=False))
        return {"offsets": self.offsets, "messages": self.folded} | named | self.counts()


def read(
    settings: Settings, connection: Connection, wanted: Wanted, tell: Tell = lambda _, __, ___: None
) -> StoredLives:
    """Fold what is stored, partition by partition, and return the lives that were in it.

    Raises
    ------
    SettingsError, PipelineError
        If something cannot be read.
    """
    logs = StoredLogs(settings, wanted.source)
    records = logs.maintenance(connection)
    since_ms, until_ms = wanted.between_ms
    within = [each for each in records if since_ms <= each.time_ms < until_ms]
    newest = ClassedMessages(within if wanted.sensors else [])
    by_machine = of_machine(records)
    gathering = Gathering(wanted.machine_type, wanted.features, bare(rules.fold_rules(settings)), by_machine, newest)
    ends = logs.ends(connection)
    for source, end in ends.items():
        controls = logs.controls(connection, source)

        def told(of: SourcePartition, position: int) -> None:
            tell(str(of), position, ends[of])

        gathering.fold(source, logs.events(source, end), end, controls, told)
    lives = [
        life
        for machine_id, cycles in gathering.cycles().items()
        for life in lives_of(machine_id, cycles, by_machine.get(machine_id, ()), wanted.between_ms)
    ]
    return StoredLives(
        in_order(lives),
        classed(newest.labelled(), wanted.sensors) if wanted.sensors else nothing_classed(),
        gathering.messages,
        _offsets(list(ends.items())),
    )


def nothing_classed() -> Classed:
    """Return no messages."""
    nothing: npt.NDArray[np.float64] = np.empty((0, 0))
    return Classed([], nothing, np.empty(0, np.int64))


def _offsets(ends: Sequence[tuple[SourcePartition, int]]) -> dict[str, dict[str, list[int]]]:
    found: dict[str, dict[str, list[int]]] = {}
    for source, end in ends:
        found.setdefault(source.topic, {})[str(source.partition)] = [0, end]
    return found


def _iso(at_ms: int) -> str:
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).isoformat(timespec="milliseconds")

"""Messages that maintenance records say the class of: what models of the class are taught by."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.decoding.codec import CodecRules, decode
from pipeline.core.records import StoredEvents
from pipeline.modelling.labelled import Maintenance, of_machine

_ANY_TIME = CodecRules(max_future_ms=2**60)


class Classed(NamedTuple):
    """n messages of which a class is known, by the time of the record that says it.

    Parameters
    ----------
    machine_ids
        n of them.
    rows
        Readings; NaN: the message has none of that sensor. Shape (n, sensors).
    classes
        0 to 5; shape (n,).
    """

    machine_ids: list[str]
    rows: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]

    def where(self, chosen: npt.NDArray[np.bool_]) -> Classed:
        """Return the chosen messages; ``chosen`` has shape (n,)."""
        machine_ids = [self.machine_ids[i] for i in np.flatnonzero(chosen).tolist()]
        return Classed(machine_ids, self.rows[chosen], self.classes[chosen])


class ClassedMessages:
    """The newest message of each machine at or before each record that says a class of maintenance.

    Parameters
    ----------
    records
        Those that say none are passed over.

    Examples
    --------
    >>> found = ClassedMessages([Maintenance("m", 20, "planned", "die", 3), Maintenance("m", 40, "planned", "die", 0)])
    >>> for at_ms, body in ((10, b"a"), (20, b"b"), (19, b"c"), (45, b"d")):
    ...     found.take("m", at_ms, body)
    >>> [(record.requirement, body) for record, body in found.labelled()]
    [(3, b'b'), (0, b'b')]
    """

    def __init__(self, records: Sequence[Maintenance]) -> None:
        self._records = of_machine([each for each in records if each.requirement >= 0])
        self._times = {machine: [each.time_ms for each in some] for machine, some in self._records.items()}
        self._newest: dict[str, list[tuple[int, bytes] | None]] = {
            machine: [None] * len(some) for machine, some in self._records.items()
        }

    @property
    def machines(self) -> frozenset[str]:
        """Machines of which there is such a record."""
        return frozenset(self._times)

    def take(self, machine_id: str, at_ms: int, body: bytes) -> None:
        """Take a message of one of :attr:`machines`; of two of the same time the one that comes later is the newer."""
        number = bisect_left(self._times[machine_id], at_ms)
        newest = self._newest[machine_id]
        if number < len(newest):
            before = newest[number]
            if before is None or before[0] <= at_ms:
                newest[number] = (at_ms, body)

    def labelled(self) -> list[tuple[Maintenance, bytes]]:
        """Return records with the message that each labels, by time, then machine; without those that nothing preceded."""
        found = []
        for machine, some in self._records.items():
            newest: tuple[int, bytes] | None = None
            for record, between in zip(some, self._newest[machine], strict=True):
                newest = between or newest
                if newest is not None:
                    found.append((record, newest[1]))
        return sorted(found, key=lambda each: (each[0].time_ms, each[0].machine_id))


def classed(labelled: Sequence[tuple[Maintenance, bytes]], sensors: Sequence[str]) -> Classed:
    """Return labelled messages as rows of readings.

    Examples
    --------
    >>> body = b'{"factory_id":"f","machine_id":"m","machine_type":"press","time":"2026-11-21T22:00:00Z",'
    >>> body += b'"readings":{"pressure":7539,"heat":55.5}}'
    >>> classed([(Maintenance("m", 0, "planned", "die", 3), body)], ["heat", "speed"])
    Classed(machine_ids=['m'], rows=array([[55.5,  nan]]), classes=array([3]))
    """
    columns, _ = decode(StoredEvents.of((n, 0, 0, body) for n, (_, body) in enumerate(labelled)), _ANY_TIME, {})
    rows = np.full((len(labelled), len(sensors)), np.nan)
    for message, number in enumerate(columns.offsets.tolist()):
        readings = columns.readings_of(message)
        rows[number] = [readings.get(sensor, np.nan) for sensor in sensors]
    classes = np.array([record.requirement for record, _ in labelled], np.int64)
    return Classed([record.machine_id for record, _ in labelled], rows, classes)

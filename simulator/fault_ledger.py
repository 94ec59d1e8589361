"""The ledger of faults: one CSV row for every episode in which the broker acknowledged something of its machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import orjson

from simulator.episodes import Episode
from simulator.line_file import LateFile, late_rows, quoted
from simulator.messages import Sent


@dataclass(frozen=True, slots=True)
class FaultRow:
    """One row of the ledger of faults; the columns are those of :class:`simulator.episodes.Episode`.

    Parameters
    ----------
    sensors
        A JSON list in the file.
    start_ms, end_ms
        Event time, ms since the epoch, UTC; the end is when it would be repaired, also if the plant stopped before.
    """

    kind: str
    machine_id: str
    factory_id: str
    sensors: tuple[str, ...]
    start_ms: int
    end_ms: int
    size: float


_HEADER = (",".join(field.name for field in fields(FaultRow)) + "\n").encode()


def beside(ledger: Path) -> Path:
    """Return where the ledger of faults of a ledger is: ``ledger.faults.csv`` beside ``ledger.csv``."""
    return ledger.with_suffix(".faults.csv")


class FaultLedger(LateFile):
    """A ledger of faults that is being written; made when the first episode comes, where :func:`beside` says."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _HEADER, "ledger of faults")
        self._noted: set[tuple[str, int]] = set()

    def append(self, record: Sent) -> None:
        """Note the episodes in which a record that the broker acknowledged was measured, each once; garbage tells nothing."""
        if record.kind == "garbage":
            return
        for message in record.messages:
            if message.episode is not None:
                self._note(message.episode)

    def _note(self, episode: Episode) -> None:
        # A machine has one fault at a time
        key = (episode.machine_id, episode.start_ms)
        if key in self._noted:
            return
        self._noted.add(key)
        self.add(
            f"{episode.kind},{episode.machine_id},{episode.factory_id},{quoted(orjson.dumps(episode.sensors).decode())},"
            f"{episode.start_ms},{episode.end_ms},{episode.size!r}\n"
        )


def read(path: Path) -> Iterator[FaultRow]:
    """Yield the complete rows, also of a file that is being written; none if there is no file, since nothing was faulty."""
    for kind, machine_id, factory_id, sensors, start_ms, end_ms, size in late_rows(path):
        named = tuple(orjson.loads(sensors))
        yield FaultRow(kind, machine_id, factory_id, named, int(start_ms), int(end_ms), float(size))

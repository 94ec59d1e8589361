"""The ledger of facts: one CSV row with the whole message for every report and record that the broker acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from simulator.line_file import LateFile, late_rows, quoted
from simulator.messages import Sent


@dataclass(frozen=True, slots=True)
class FactRow:
    """One row of the ledger of facts.

    Parameters
    ----------
    topic, partition, offset, index
        The source key, as in :class:`simulator.ledger.LedgerRow`.
    type
        ``quality`` or ``maintenance``.
    event_time_ms
        A period's end, or when something was done; ms since the epoch, UTC.
    body
        The message as it was sent.
    """

    topic: str
    partition: int
    offset: int
    index: int
    type: str
    machine_id: str
    factory_id: str
    event_time_ms: int
    body: str


_HEADER = (",".join(field.name for field in fields(FactRow)) + "\n").encode()


def beside(ledger: Path) -> Path:
    """Return where the ledger of facts of a ledger is: ``ledger.facts.csv`` beside ``ledger.csv``."""
    return ledger.with_suffix(".facts.csv")


class FactLedger(LateFile):
    """A ledger of facts that is being written; made when the first fact comes, where :func:`beside` says."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _HEADER, "ledger of facts")

    def append(self, record: Sent, topic: str, partition: int, offset: int) -> None:
        """Note a fact that the broker acknowledged, and where it put it."""
        (message,) = record.messages
        self.add(
            f"{topic},{partition},{offset},0,{record.type},{message.machine_id},{message.factory_id},"
            f"{message.event_time_ms},{quoted(record.body.decode())}\n"
        )


def read(path: Path) -> Iterator[FactRow]:
    """Yield the complete rows; none if there is no file, since no fact was sent."""
    for topic, partition, offset, index, kind, machine_id, factory_id, at_ms, body in late_rows(path):
        yield FactRow(topic, int(partition), int(offset), int(index), kind, machine_id, factory_id, int(at_ms), body)

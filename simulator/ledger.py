"""The ledger: one CSV row for every message the broker acknowledged, with the truth about it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import orjson

from simulator import fact_ledger, fault_ledger, life_ledger
from simulator.fact_ledger import FactLedger
from simulator.fault_ledger import FaultLedger
from simulator.life_ledger import LifeLedger
from simulator.line_file import LineFile, complete_lines, quoted
from simulator.messages import Message, Sent


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One row of the ledger; a record that is an array has one row per element.

    Parameters
    ----------
    topic, partition, offset, index
        The source key: where the broker put the record, and the place in an array record (else 0).
    kind, fault
        See :class:`simulator.messages.Sent`.
    seq
        ``None`` where the device has no sequence number.
    event_time_ms
        Device time, ms since the epoch, UTC; of garbage: of the message that was spoilt.
    sent_at_ms
        When the record was handed to the broker's client, ms since the epoch, UTC.
    anomalies
        JSON list of ``{"sensor": …, "kind": "spike" | "dip"}``.
    readings
        JSON object of sensor and value; of a fact it is empty.
    """

    topic: str
    partition: int
    offset: int
    index: int
    kind: str
    fault: str
    machine_id: str
    factory_id: str
    seq: int | None
    event_time_ms: int
    sent_at_ms: int
    anomalies: str
    readings: str


COLUMNS = tuple(field.name for field in fields(LedgerRow))
_HEADER = (",".join(COLUMNS) + "\n").encode()


class Ledger:
    """A ledger that is being written.

    Rows wait in memory until :meth:`flush`. What is in the file before is kept, but for a last line that a killed writer
    left without its end: that is cut off. What facts say, which machines were faulty, and how others wore out
    is noted in files beside it (``beside`` of :mod:`simulator.fact_ledger`, :mod:`simulator.fault_ledger` and
    :mod:`simulator.life_ledger` say where).

    Parameters
    ----------
    path
        Where it is; made if it is absent, together with its folder.

    Raises
    ------
    ValueError
        If the file has another header: it is not a ledger of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as opened:
            self._file = LineFile(path, _HEADER, "ledger")
            opened.callback(self._file.close)
            self._facts = FactLedger(fact_ledger.beside(path))
            opened.callback(self._facts.close)
            self._faults = FaultLedger(fault_ledger.beside(path))
            opened.callback(self._faults.close)
            self._lives = LifeLedger(life_ledger.beside(path))
            opened.pop_all()

    def append(self, record: Sent, sent_at_ms: int, topic: str, partition: int, offset: int) -> None:
        """Note a record that the broker acknowledged.

        Parameters
        ----------
        sent_at_ms
            When it was handed to the broker's client, ms since the epoch, UTC.
        topic, partition, offset
            Where the broker put it.
        """
        for index, message in enumerate(record.messages):
            seq = "" if message.seq is None else message.seq
            self._file.add(
                f"{topic},{partition},{offset},{index},{record.kind},{record.fault},{message.machine_id},"
                f"{message.factory_id},{seq},{message.event_time_ms},{sent_at_ms},{_anomalies(message)},"
                f"{quoted(message.readings)}\n"
            )
        if record.is_fact:
            self._facts.append(record, topic, partition, offset)
        self._faults.append(record)
        self._lives.append(record)

    def flush(self) -> None:
        """Write the rows that wait; readers see them at once."""
        # Whoever sees the row of a fact, of a faulty machine or of one that wears out, finds what it says
        self._facts.flush()
        self._faults.flush()
        self._lives.flush()
        self._file.flush()

    def close(self) -> None:
        """Write what waits and close the file."""
        self._facts.close()
        self._faults.close()
        self._lives.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read(path: Path) -> Iterator[LedgerRow]:
    """Yield the complete rows of a ledger, also of one that is being written; a torn last line is left out."""
    rows = csv.reader(complete_lines(path))
    next(rows, None)
    for topic, partition, offset, index, kind, fault, machine_id, factory_id, seq, at_ms, sent_ms, odd, values in rows:
        yield LedgerRow(
            topic,
            int(partition),
            int(offset),
            int(index),
            kind,
            fault,
            machine_id,
            factory_id,
            int(seq) if seq else None,
            int(at_ms),
            int(sent_ms),
            odd,
            values,
        )


def _anomalies(message: Message) -> str:
    """Return the anomalies as a CSV field; no JSON of ours holds a line break, so a line is always a row."""
    if not message.anomalies:
        return "[]"
    return quoted(orjson.dumps([{"sensor": sensor, "kind": kind} for sensor, kind in message.anomalies]).decode())

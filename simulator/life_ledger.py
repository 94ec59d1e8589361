"""The ledger of lives: one CSV row for every life of which the broker acknowledged a message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

from simulator.line_file import LateFile, late_rows, quoted
from simulator.lives import Life
from simulator.messages import Sent

_HEADER = (",".join(Life._fields) + "\n").encode()


def beside(ledger: Path) -> Path:
    """Return where the ledger of lives of a ledger is: ``ledger.lives.csv`` beside ``ledger.csv``."""
    return ledger.with_suffix(".lives.csv")


class LifeLedger(LateFile):
    """A ledger of lives that is being written; made when the first life comes, where :func:`beside` says."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _HEADER, "ledger of lives")
        self._newest: dict[str, int] = {}

    def append(self, record: Sent) -> None:
        """Note the lives in which a record that the broker acknowledged was measured, each once."""
        for message in record.messages:
            if message.life is not None:
                self._note(message.life)

    def _note(self, life: Life) -> None:
        # Acknowledgments of one machine come in the order of its messages
        if life.number <= self._newest.get(life.machine_id, -1):
            return
        self._newest[life.machine_id] = life.number
        lists = (quoted(orjson.dumps(each).decode()) for each in (life.fails_s, life.cycles_s))
        self.add(f"{','.join(map(str, life[:-2]))},{','.join(lists)}\n")


def read(path: Path) -> Iterator[Life]:
    """Yield the complete rows, also of a file that is being written; none if there is no file, since nothing wore out."""
    for machine_id, factory_id, number, kind, component, *times, fails_s, cycles_s in late_rows(path):
        began_ms, ended_ms, repaired_ms, age_s = map(int, times)
        seal_s, governor_s = orjson.loads(fails_s)
        yield Life(
            machine_id,
            factory_id,
            int(number),
            kind,
            component,
            began_ms,
            ended_ms,
            repaired_ms,
            age_s,
            (seal_s, governor_s),
            tuple(orjson.loads(cycles_s)),
        )

"""``pipeline worker`` with a fault built in: of another version, with a fold that fails, or with its own death.

Run as a script; what is not an option of its own goes to ``pipeline worker``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from pipeline import crash_points, rules
from pipeline.cli import main
from pipeline.core.effects import Effects
from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from tables import partition


class Injected(Exception):
    """The fault itself."""


class FailingFold:
    """A fold that raises after it has changed the state: once on a batch, or for ever on one record.

    Once is on a batch of several records only: of a single one the worker cannot tell it from for ever, and sets it aside.

    Parameters
    ----------
    after
        Batches that are folded as they should be before.
    for_ever
        Whether the record keeps failing, as a bug in the fold would have it, until a control record skips it.
    """

    def __init__(self, after: int, for_ever: bool) -> None:
        self._left, self._for_ever, self._least = after, for_ever, 1 if for_ever else 2
        self._poison: tuple[SourcePartition, int] | None = None

    def __call__(
        self, state: PartitionState, batch: RecordBatch, rules: FoldRules, marks: Marks, skip: Mapping[int, Any]
    ) -> Effects:
        effects = fold(state, batch, rules, marks, skip)
        # While records are folded again nothing fails: their effects are there already
        if batch.start >= marks.effects and len(batch.records) >= self._least:
            self._left -= 1
            if self._left == 0:
                self._poison = batch.source, batch.records[len(batch.records) // 2].offset
                if not self._for_ever:
                    raise Injected("once")
        if self._for_ever and self._poison is not None:
            source, offset = self._poison
            if source == batch.source and offset not in skip and any(r.offset == offset for r in batch.records):
                raise Injected(f"on {source} offset {offset}")
        return effects


def run() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ahead", type=int, default=0, help="versions of the fold ahead of this one")
    parser.add_argument("--fail-after", type=int, default=0, help="batches before the fold fails")
    parser.add_argument("--for-ever", action="store_true", help="the record keeps failing")
    parser.add_argument("--die-at", type=int, default=0, help="which of the places to die at is the last, counting all")
    own, given = parser.parse_known_args()
    rules.FOLD_VERSION += own.ahead  # type: ignore[misc]  # another version is what is wanted here
    if own.fail_after:
        partition.fold = FailingFold(own.fail_after, own.for_ever)
    if own.die_at:
        passed = itertools.count(1)
        crash_points.arm(lambda _: os.kill(os.getpid(), signal.SIGKILL) if next(passed) == own.die_at else None)
    sys.argv = ["pipeline", "worker", *given]
    main()


if __name__ == "__main__":
    run()

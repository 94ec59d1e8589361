"""The rows of ``machine_state`` against the stored messages."""

from __future__ import annotations

import numpy as np

from pipeline.verifying.figures import Figures
from pipeline.verifying.intake import Intake
from pipeline.verifying.places import Accounts
from pipeline.verifying.spill import Array


class States:
    """Messages and last event time of machines, as ``machine_state`` has them."""

    def __init__(self) -> None:
        self._parts: list[tuple[Array, Array, Array]] = []
        self.are_told = False

    def take(self, machines: Array, messages: Array, seen_ms: Array) -> None:
        """Take some rows; shape (n,) each."""
        self._parts.append((machines, messages, seen_ms))

    def judge(self, intake: Intake, seen_ms: Array, accounts: Accounts | None, figures: Figures) -> None:
        """Count machines whose state says less than is stored; or more, where all that ever came is stored.

        Nothing is told where a mark is unknown, since the state holds what lies before the windows marks.

        Parameters
        ----------
        seen_ms
            Latest event time of each machine before the windows marks, ms since the epoch, UTC; -1: none.
        """
        names = intake.machines.texts
        self.are_told = all(intake.marks.is_known(intake.source_name(n)) for n in range(len(intake.sources.texts)))
        if not self.are_told:
            return
        messages, seen = np.zeros(len(names), np.int64), np.full(len(names), -1, np.int64)
        for machines, counted, last_ms in self._parts:
            messages[machines], seen[machines] = counted, last_ms
        merged, latest = figures.of("merged", len(names)), np.full(len(names), -1, np.int64)
        latest[: len(seen_ms)] = seen_ms
        is_whole = accounts is not None and accounts.are_whole
        wrong = (messages != merged) | (seen != latest) if is_whole else (messages < merged) | (seen < latest)
        found = np.flatnonzero(wrong)
        figures.add("states_wrong", found)
        figures.example("wrong state", [((names[at],), names[at]) for at in found.tolist()])

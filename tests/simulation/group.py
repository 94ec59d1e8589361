"""The group's coordinator: members, generations, and an assignment that each member hears of in its own time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextvars import Context

from pipeline.core.records import SourcePartition
from tests.simulation.trace import Trace

Told = Callable[[int, Sequence[SourcePartition]], None]

SESSION_S = 1.5
"""Silence after which a member is taken for dead."""


class Group:
    """The coordinator."""

    def __init__(self, rng: random.Random, trace: Trace, sources: Sequence[SourcePartition]) -> None:
        self._rng = rng
        self._trace = trace
        self._sources = list(sources)
        self._members: dict[str, Told] = {}
        self._seen: dict[str, float] = {}
        self._generation = 0

    @property
    def members(self) -> Sequence[str]:
        return list(self._members)

    def heartbeat(self, name: str, told: Told) -> None:
        """Note that a member lives; one that is not known joins."""
        self._seen[name] = asyncio.get_running_loop().time()
        if name not in self._members:
            self._members[name] = told
            self.rebalance()

    def leave(self, name: str) -> None:
        if self._members.pop(name, None) is not None:
            self.rebalance()

    async def watch(self) -> None:
        """Leave those out that have been silent for too long."""
        while True:
            await asyncio.sleep(0.25)
            now = asyncio.get_running_loop().time()
            silent = [name for name in self._members if now - self._seen[name] > SESSION_S]
            for name in silent:
                self._trace.add("group", "silent", name)
                del self._members[name]
            if silent:
                self.rebalance()

    def rebalance(self) -> None:
        """Begin a new generation with partitions dealt anew."""
        self._generation += 1
        assignment: dict[str, list[SourcePartition]] = {name: [] for name in self._members}
        names = self._rng.sample(list(self._members), len(self._members))
        for at, source in enumerate(self._sources):
            if names:
                assignment[names[at % len(names)]].append(source)
        self._trace.add("group", f"generation {self._generation}", " ".join(names))
        loop = asyncio.get_running_loop()
        for name, sources in assignment.items():
            # By nobody's doing: whoever caused it may be dead by then
            loop.call_later(self._rng.random() * 0.2, self._members[name], self._generation, sources, context=Context())

"""How likely what is: drawn for each seed anew, so that seeds differ in kind and not only in luck."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.simulation.trace import Fault, Trace

LOSSY = frozenset({Fault.RETENTION, Fault.RECREATION})
"""What takes records away before anybody read them."""

PASSIVE = (
    Fault.SEEK_TWICE,
    Fault.STALE_BATCH,
    Fault.BATCH_LOST,
    Fault.REDELIVERY,
    Fault.ROLLED_BACK,
    Fault.UNKNOWN_STORED,
    Fault.UNKNOWN_NOT_STORED,
    Fault.LEASE_ANSWER_LOST,
    Fault.FOLD_FAILS,
    Fault.SNAPSHOT_LOST,
    Fault.EVENTS_NOT_READ,
)
"""What happens on the way of something else."""

ACTIVE = (
    Fault.REBALANCE,
    Fault.HEARTBEATS_LOST,
    Fault.HOLE,
    Fault.BROKER_AWAY,
    Fault.BROKER_SLOW,
    Fault.RETENTION,
    Fault.RECREATION,
    Fault.KILL,
    Fault.STOP,
    Fault.FREEZE,
    Fault.DATABASE_AWAY,
    Fault.DATABASE_SLOW,
    Fault.RESTORE,
    Fault.UNSTORABLE,
    Fault.POISON,
    Fault.CONTROL,
    Fault.TICK,
)
"""What is done at some moment."""


OFTEN = {Fault.EVENTS_NOT_READ: 6.0}
"""How many times as likely as others; a state is seldom rebuilt from events, and few seeds would see that fail."""


class Odds:
    """The faults of one seed.

    Parameters
    ----------
    only
        The active faults, if not drawn.

    Attributes
    ----------
    lossy
        Whether records may be lost before anybody read them.
    """

    def __init__(self, rng: random.Random, trace: Trace, only: Sequence[Fault] = ()) -> None:
        self._rng = rng
        self._trace = trace
        self.lossy = rng.random() < 0.25
        active = [kind for kind in ACTIVE if self.lossy or kind not in LOSSY]
        self.active = rng.sample(active, rng.randint(1, len(active)))
        if self.lossy and not LOSSY & set(self.active):
            self.active.append(rng.choice(sorted(LOSSY)))
        if Fault.RECREATION in self.active:
            # Where the record before the mark is missing (or is before a gap), nothing tells one log from another
            self.active = [kind for kind in self.active if kind not in {Fault.HOLE, Fault.RETENTION}]
        if only:
            self.active, self.lossy = list(only), bool(LOSSY & set(only))
        self._chances = {
            kind: rng.random() * 0.12 * OFTEN.get(kind, 1.0)
            for kind in rng.sample(PASSIVE, rng.randint(0, len(PASSIVE)))
        }
        self.pause_s = rng.uniform(0.1, 0.8)

    def strike(self, kind: Fault, who: str) -> bool:
        """Return whether a fault happens now, and note it."""
        chance = self._chances.get(kind, 0.0)
        if chance == 0.0 or self._rng.random() >= chance:
            return False
        self._trace.fault(kind, who)
        return True

    def end(self) -> None:
        """Let no more faults happen."""
        self._chances.clear()

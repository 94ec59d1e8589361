"""The watchdog: liveness is progress.

A worker can look healthy and do nothing: its consumer hangs after the broker was away, its loop is blocked, a call never
returns. So a thread with a clock of its own watches what must move while records wait, and ends the process when nothing
does and nobody else is to blame. A broker or a database that is away is never the worker's fault.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple, Protocol

import structlog

from pipeline.core.records import SourcePartition

log = structlog.get_logger(__name__)


class Part(Enum):
    """What is watched beside the partitions."""

    LOOP = "the event loop"
    GROUP = "the membership of the group"
    STOP = "the stop"


Subject = SourcePartition | Part


class Standing(NamedTuple):
    """How far an owned partition has come: the next record to fold, and the marks."""

    position: int
    effects: int
    windows: int


class Sight(NamedTuple):
    """The worker at one moment.

    Parameters
    ----------
    beats
        How often the event loop has come round.
    refusals
        How many attempts the database has refused so far.
    stopping
        Whether the worker was told to stop, or stops by itself.
    assigned, held
        Partitions that the group gave to this worker, and where those stand that it owns.
    ends
        Where the logs end; ``None`` if the broker does not say.
    """

    beats: int
    refusals: int
    stopping: bool
    assigned: frozenset[SourcePartition]
    held: Mapping[SourcePartition, Standing]
    ends: Mapping[SourcePartition, int] | None


STOP_S = 30.0
"""How long a stop may take whatever the limit is, s: ten to store what waits, and some for each goodbye to broker and group."""


class Watch:
    """Since when what should move does not.

    A partition stands still while it is assigned and not acquired, or its log has more than was stored, and neither its
    position nor a mark moves. It is excused while the broker does not say how long its log is, and whenever the database
    refuses an attempt: then the worker is alive and waits.

    Parameters
    ----------
    limit_s
        How long something may stand still, s; 0: for ever.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._since: dict[Subject, float] = {}
        self._seen: Sight | None = None
        self._now = 0.0

    def look(self, now: float, sight: Sight) -> None:
        """Take note of what the worker looks like now; ``now`` in seconds of a monotonic clock."""
        before, self._seen, self._now = self._seen, sight, now
        still = self._still(before, sight) if before is not None else set()
        self._since = {subject: self._since.get(subject, now) for subject in still}

    def _still(self, before: Sight, sight: Sight) -> set[Subject]:
        if sight.stopping:
            return {Part.STOP}
        still: set[Subject] = set()
        if sight.beats == before.beats > 0:
            still.add(Part.LOOP)
        if sight.ends is not None and sight.refusals == before.refusals:
            if not sight.assigned:
                still.add(Part.GROUP)
            still |= {source for source in sight.assigned if _stands(source, before, sight, sight.ends)}
        return still

    def excuse(self, subject: Subject) -> None:
        """Begin to count anew for something that stood still through no fault of the worker."""
        self._since[subject] = self._now

    def stood_still_s(self, subject: Subject) -> float:
        """Return for how long something has stood still, s."""
        return self._now - self._since.get(subject, self._now)

    def longest(self) -> tuple[Subject, float] | None:
        """Return what has stood still for longest, and for how long, s."""
        subject = min(self._since, key=lambda each: self._since[each], default=None)
        return None if subject is None else (subject, self.stood_still_s(subject))

    def overdue(self) -> list[Subject]:
        """Return what has stood still for too long."""
        if not self.limit_s:
            return []
        late = [subject for subject in self._since if self.stood_still_s(subject) >= self._limit_s(subject)]
        # While the loop is blocked, that is why everything else stands still
        return [subject for subject in late if subject is Part.LOOP] if Part.LOOP in self._since else late

    def _limit_s(self, subject: Subject) -> float:
        return max(self.limit_s, STOP_S) if subject is Part.STOP else self.limit_s


def _stands(source: SourcePartition, before: Sight, sight: Sight, ends: Mapping[SourcePartition, int]) -> bool:
    standing = sight.held.get(source)
    if standing is None:
        return True
    return standing == before.held.get(source) and ends.get(source, 0) > standing.effects


class Witnesses(Protocol):
    """Whom the watchdog asks; each call blocks for some seconds at most."""

    def sight(self) -> Sight:
        """Return what the worker looks like now."""

    def excuse(self, subject: Subject, sight: Sight) -> str | None:
        """Return who else is to blame for something that stands still; ``None`` if nobody is."""

    def end(self, reason: str) -> None:
        """End the process."""


CLOSE_S = 12.0
"""How long the last look may take."""


class Watchdog(threading.Thread):
    """Looks at the worker for as long as the process lives.

    Parameters
    ----------
    watch
        What counts as standing still.
    clock
        Monotonic seconds. Time in which this thread did not come round does not count: then the whole process was stopped.
    """

    def __init__(self, watch: Watch, witnesses: Witnesses, clock: Callable[[], float]) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._watch = watch
        self._witnesses = witnesses
        self._clock = clock
        self.interval_s = min(5.0, max(0.2, (watch.limit_s or 60.0) / 12))
        self._looked_at = clock()
        self._awake_s = 0.0
        self._ended = threading.Event()
        self.verdict: str | None = None
        """Why the process is about to end; ``None`` while it is not."""

    def run(self) -> None:
        """Look at the worker again and again."""
        while not self._ended.wait(self.interval_s):
            try:
                self.look()
            except Exception:
                # Whatever is wrong with one look, the next one must come
                log.exception("watchdog.failed")

    def close(self) -> None:
        """Look no more; waits for the look that is under way, which a broker that is away may draw out."""
        self._ended.set()
        if self.is_alive():
            self.join(CLOSE_S)

    def look(self) -> None:
        """Look once, and end the process if it has to be."""
        now = self._clock()
        self._awake_s += min(now - self._looked_at, 2 * self.interval_s)
        self._looked_at = now
        sight = self._witnesses.sight()
        self._watch.look(self._awake_s, sight)
        for subject in self._watch.overdue():
            excuse = self._witnesses.excuse(subject, sight)
            if excuse is None:
                self.verdict = reason(subject, sight, self._watch.stood_still_s(subject))
                self._witnesses.end(self.verdict)
                return
            log.info("watchdog.excused", subject=name(subject), reason=excuse)
            self._watch.excuse(subject)


def name(subject: Subject) -> str:
    """Return what stands still, for people."""
    return subject.value if isinstance(subject, Part) else str(subject)


def reason(subject: Subject, sight: Sight, still_s: float) -> str:
    """Return in one line what stands still.

    Examples
    --------
    >>> t = SourcePartition("t", 0)
    >>> sight = Sight(1, 0, False, frozenset({t}), {t: Standing(7, 7, 7)}, {t: 9})
    >>> reason(t, sight, 120.4)
    't[0] has records from offset 7 on, and none was read or stored for 120 s, though broker and database answer'
    """
    for_s = f"for {still_s:.0f} s"
    if subject is Part.LOOP:
        return f"the event loop has been blocked {for_s}"
    if subject is Part.GROUP:
        return f"the worker has not been in its group {for_s}, though the broker answers"
    if subject is Part.STOP:
        return f"the worker has been stopping {for_s}"
    standing = sight.held.get(subject) if isinstance(subject, SourcePartition) else None
    if standing is None:
        return f"{subject} is assigned and could not be acquired {for_s}, though broker and database answer"
    return (
        f"{subject} has records from offset {standing.effects} on, and none was read or stored {for_s}, "
        "though broker and database answer"
    )

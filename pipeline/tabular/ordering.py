"""Whether a file is in the order of time, and how it is put into it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from pipeline.core.watermark import BEGINNING_MS
from pipeline.core.windows import Tumbling
from pipeline.tabular.judging import Judged

_BATCH = 10_000


class Order:
    """Counts messages that come too late for what came before them.

    Parameters
    ----------
    delay_ms
        How long after a window's end its readings are still on time, ms.
    window
        The windows.

    Examples
    --------
    >>> order = Order(10_000, Tumbling(60_000))
    >>> order.note(Judged([2, 3, 4], [0, 130_000, 59_000], ["a", "b", "a"], [b"", b"", b""], []), now_ms=10**12)
    >>> order.late, order.backwards
    (1, 0)
    """

    def __init__(self, delay_ms: int, window: Tumbling) -> None:
        self._delay_ms, self._window = delay_ms, window
        self._latest_ms = BEGINNING_MS
        self._last_ms: dict[str, int] = {}
        self.late = 0
        """Messages whose window was over by then if all that came before went into the same partition: at most so many."""
        self.backwards = 0
        """Messages that are older than one of the same machine before them."""

    def note(self, judged: Judged, now_ms: int) -> None:
        """Look at the next messages.

        Parameters
        ----------
        now_ms
            No time beyond this moves the watermark, ms since the epoch, UTC.
        """
        times = np.array(judged.times_ms, np.int64)
        latest = np.maximum.accumulate(np.concatenate(([self._latest_ms], np.minimum(times, now_ms))))
        ends = (times // self._window.size_ms + 1) * self._window.size_ms
        self.late += int(np.count_nonzero(ends <= latest[:-1] - self._delay_ms))
        self._latest_ms = int(latest[-1])
        last_ms = self._last_ms
        for machine, at_ms in zip(judged.machine_ids, judged.times_ms, strict=True):
            before_ms = last_ms.get(machine, at_ms)
            self.backwards += at_ms < before_ms
            last_ms[machine] = max(at_ms, before_ms)


def in_time_order(stretches: Iterator[Judged]) -> Iterator[Judged]:
    """Yield all messages by event time, those of one time as they stood in the file; rejects come first.

    All messages are in memory, with some 400 bytes beside each body.
    """
    kept: list[Judged] = []
    for each in stretches:
        yield Judged([], [], [], [], each.rejects, each.rows)
        each.rejects = []
        kept.append(each)
    places = list(chain.from_iterable(each.places for each in kept))
    times = list(chain.from_iterable(each.times_ms for each in kept))
    machines = list(chain.from_iterable(each.machine_ids for each in kept))
    bodies = list(chain.from_iterable(each.bodies for each in kept))
    kept.clear()
    order = np.argsort(np.array(times, np.int64), kind="stable")
    for begin in range(0, len(order), _BATCH):
        which = order[begin : begin + _BATCH].tolist()
        yield Judged(
            [places[i] for i in which],
            [times[i] for i in which],
            [machines[i] for i in which],
            [bodies[i] for i in which],
            rejects=[],
        )

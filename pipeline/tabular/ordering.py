"""Whether a file is in the order of time, and how it is put into it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.windowing.watermark import BEGINNING_MS
from pipeline.core.windowing.windows import Tumbling
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

    All messages are in memory, each with its body and some 50 bytes.
    """
    kept: list[_Packed] = []
    names: dict[str, str] = {}
    for each in stretches:
        yield Judged([], [], [], [], each.rejects, each.rows)
        kept.append(_pack(each, names))
    times = np.concatenate([each.times_ms for each in kept] or [np.empty(0, np.int64)])
    firsts = np.cumsum([0, *(len(each.places) for each in kept)])
    order = np.argsort(times, kind="stable")
    for begin in range(0, len(order), _BATCH):
        which = order[begin : begin + _BATCH]
        stretch = np.searchsorted(firsts, which, side="right") - 1
        found = [(kept[at], i) for at, i in zip(stretch.tolist(), (which - firsts[stretch]).tolist(), strict=True)]
        yield Judged(
            [int(each.places[i]) for each, i in found],
            times[which].tolist(),
            [each.machine_ids[i] for each, i in found],
            [each.bodies[each.ends[i] : each.ends[i + 1]] for each, i in found],
            rejects=[],
        )


class _Packed(NamedTuple):
    """Messages in little memory: bodies that were written one by one take four times their length."""

    places: npt.NDArray[np.int64]
    times_ms: npt.NDArray[np.int64]
    machine_ids: list[str]
    bodies: bytes
    ends: npt.NDArray[np.int64]


def _pack(judged: Judged, names: dict[str, str]) -> _Packed:
    return _Packed(
        np.array(judged.places, np.int64),
        np.array(judged.times_ms, np.int64),
        [names.setdefault(name, name) for name in judged.machine_ids],
        b"".join(judged.bodies),
        np.cumsum([0, *map(len, judged.bodies)]),
    )

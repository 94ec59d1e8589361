"""When a machine worked in its present life: what one has behind it that begins late, with maintenance of the past."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import record, uncounted
from pipeline.core.prognosis.features import begin_life

STRETCHES = 16
"""How many stretches of work are kept of a life."""

STRETCH = record(
    [
        ("began_ms", np.int64),
        ("ended_ms", np.int64),
        ("operating_ms", np.int64),
        ("cycles", np.int64),
    ]
)
"""Operating cycles of one life that follow one another, taken together; zeros: none.

Of each cycle counts what it added to the life. ``operating_ms`` is less than ``ended_ms - began_ms`` by the pauses between
them. Times are ms since the epoch, UTC.
"""


@uncounted
def remember(stretches: Any, ended_ms: int, operating_ms: int) -> None:
    """Note a cycle that a life has grown by.

    As long as a life has no more than :data:`STRETCHES` cycles, each is a stretch. Then two neighbours become one at each
    cycle: those between which the pause is shortest beside the time that has gone since. So recent pauses are kept, and of
    the past the longer ones.

    Parameters
    ----------
    stretches
        Records of :data:`STRETCH` of the machine, oldest first; changed.
    ended_ms
        End of the cycle, ms since the epoch, UTC, after all others.
    operating_ms
        How much of it is the life's, ms.
    """
    used = 0
    while used < len(stretches) and stretches[used].cycles > 0:
        used += 1
    if used == len(stretches):
        used -= 1
        _join(stretches, ended_ms)
    stretches[used].began_ms = ended_ms - operating_ms
    stretches[used].ended_ms = ended_ms
    stretches[used].operating_ms = operating_ms
    stretches[used].cycles = 1


@uncounted
def _join(stretches: Any, now_ms: int) -> None:
    """Let two neighbours become one, so that the last record is free."""
    at, least = 1, np.inf
    for i in range(1, len(stretches)):
        share = (stretches[i].began_ms - stretches[i - 1].ended_ms) / (now_ms - stretches[i].began_ms)
        if share < least:
            at, least = i, share
    stretches[at - 1].ended_ms = stretches[at].ended_ms
    stretches[at - 1].operating_ms += stretches[at].operating_ms
    stretches[at - 1].cycles += stretches[at].cycles
    for i in range(at + 1, len(stretches)):
        stretches[i - 1] = stretches[i]


def renew(life: npt.NDArray[np.void], wears: npt.NDArray[np.void], stretches: npt.NDArray[np.void], at_ms: int) -> None:
    """Begin a machine's life anew at a moment, also one that its cycles have passed: its age is what it has worked since.

    Of a stretch of several cycles in which the moment lies, the work counts as if it were spread evenly: that is wrong by no
    more than the pauses in it. What its sensors' wears held of the time since cannot be told from what was before, and is
    forgotten.

    Parameters
    ----------
    life, wears
        As :func:`pipeline.core.prognosis.features.begin_life` has them; changed.
    stretches
        Those of the life, shape (:data:`STRETCHES`,), a view; changed.
    at_ms
        When it was maintained, ms since the epoch, UTC, after the life began.

    Examples
    --------
    >>> from pipeline.core.prognosis.features import LIFE, WEAR
    >>> life, stretches = np.zeros(1, LIFE), np.zeros(STRETCHES, STRETCH)
    >>> life["began_ms"], life["ended_ms"], life["operating_ms"], life["cycles"] = 0, 900, 700, 2
    >>> remember(stretches, 400, 400), remember(stretches, 900, 300)
    (None, None)
    >>> renew(life, np.zeros(0, WEAR), stretches, 300)
    >>> life[0].item()  # cycles, operating, began, ended
    (2, 400, 300, 900)
    """
    ended_ms = max(at_ms, int(life["ended_ms"][0]))
    begin_life(life, wears, at_ms)
    left = stretches[stretches["ended_ms"] > at_ms]
    stretches[:] = np.zeros((), STRETCH)
    if not len(left):
        return
    began, ended, operating, cycles = left[0].item()
    if began < at_ms:
        # In Python's integers: milliseconds of years times milliseconds of years
        rest, whole = ended - at_ms, ended - began
        left[0] = (at_ms, ended, operating * rest // whole, -(-cycles * rest // whole))
    stretches[: len(left)] = left
    life["cycles"], life["operating_ms"], life["ended_ms"] = left["cycles"].sum(), left["operating_ms"].sum(), ended_ms

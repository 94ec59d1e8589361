"""Where everything stands: the stacks of all threads and of all coroutines, for whoever has to find out why."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import Any, TextIO


def write(loops: Iterable[asyncio.AbstractEventLoop], out: TextIO) -> None:
    """Write the stacks of all threads, and of the tasks of some loops; from any thread, whatever the loops are doing.

    Parameters
    ----------
    out
        A real file.
    """
    out.flush()
    faulthandler.dump_traceback(out, all_threads=True)
    for loop in loops:
        try:
            tasks = asyncio.all_tasks(loop)
        except RuntimeError as error:  # tasks came and went all the time
            out.write(f"the tasks of {loop!r} cannot be listed: {error}\n")
            continue
        for task in tasks:
            stack = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames(task.get_coro()))
            out.write(f"\nTask {task.get_name()} (most recent call last):\n{''.join(stack.format())}")
    out.flush()


def frames(coroutine: Any) -> list[FrameType]:
    """Return the frames of a coroutine down to where it waits; the library's own list ends after the first."""
    found: list[FrameType] = []
    awaited = _with_frame(coroutine)
    while awaited is not None and len(found) < _DEEPEST:
        kind = _kind(awaited)
        found.append(getattr(awaited, f"{kind}_frame"))
        awaited = _with_frame(getattr(awaited, _WAITS_FOR[kind]))
    return found


_WAITS_FOR = {"cr": "cr_await", "gi": "gi_yieldfrom", "ag": "ag_await"}
_DEEPEST = 100


def _kind(awaited: Any) -> str:
    return next((kind for kind in _WAITS_FOR if getattr(awaited, f"{kind}_frame", None) is not None), "")


def _with_frame(awaited: Any) -> Any:
    """Return what is awaited, or the asynchronous generator whose next value is: that is only known to the collector."""
    if awaited is None or _kind(awaited):
        return awaited
    return next((each for each in gc.get_referents(awaited) if _kind(each)), None)

"""An event loop in virtual time: one ready callback after the other, the next one chosen by seed.

Time passes only while nothing is ready. Threads are imitated: what :func:`asyncio.to_thread` is given runs at a later moment,
all at once, and its answer comes later still. Every callback belongs to the process in whose context it was made, so that
a process can be killed or stopped between any two of its steps.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any

MAX_STEPS = 200_000
"""Callbacks of one run; a run that goes well takes a few thousand."""


class Stalled(Exception):
    """Nothing would ever happen again, or always the same."""


class Busy(Exception):
    """Raised by a function in an imitated thread: it waits, and is to be called again after so long."""

    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self.delay_s = delay_s


class Process:
    """What is killed, stopped and continued as one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.stopped = False
        self.parked: list[asyncio.Handle] = []


PROCESS: ContextVar[Process | None] = ContextVar("PROCESS", default=None)


class Loop(asyncio.BaseEventLoop):
    """The loop.

    Parameters
    ----------
    rng
        Chooses what runs next and how long threads take.
    in_order
        Whether callbacks run in the order they became ready, as asyncio's own loop has it.
    thread_s
        Longest time a thread takes to begin, and to answer, s.
    """

    def __init__(self, rng: random.Random, *, in_order: bool = False, thread_s: float = 0.002) -> None:
        super().__init__()
        self._rng = rng
        self._in_order = in_order
        self._thread_s = thread_s
        self._now = 0.0
        self._ready: list[asyncio.Handle] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self.steps = 0

    def time(self) -> float:
        return self._now

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Make a task that stays until the end, so that no garbage collection decides what a killed process still does."""
        task = super().create_task(coro, **options)
        self._tasks.append(task)
        return task

    def spawn(self, process: Process | None, work: Coroutine[Any, Any, Any], name: str = "") -> asyncio.Task[Any]:
        """Run a coroutine as part of a process; of ``None``: of the world around."""
        context = copy_context()
        context.run(PROCESS.set, process)
        task = self.create_task(work, name=name, context=context)
        task.add_done_callback(self._require_no_error)
        return task

    def _require_no_error(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.call_exception_handler({"message": f"{task.get_name()} failed", "exception": task.exception()})

    def kill(self, process: Process) -> None:
        """Never run anything of a process again."""
        process.dead = True
        process.parked.clear()

    def stop_process(self, process: Process) -> None:
        """Run nothing of a process until it is continued."""
        process.stopped = True

    def continue_process(self, process: Process) -> None:
        process.stopped = False
        self._ready += process.parked
        process.parked.clear()

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            while scheduled and scheduled[0]._cancelled:
                heapq.heappop(scheduled)._scheduled = False
            if not scheduled:
                raise Stalled("nothing is ready and no timer runs")
            self._now = max(self._now, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self._now:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            ready.append(timer)
        if self._in_order or len(ready) == 1:
            handle = ready.pop(0)
        else:
            at = int(self._rng.random() * len(ready))
            ready[at], ready[-1] = ready[-1], ready[at]
            handle = ready.pop()
        if handle._cancelled:
            return
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is not None:
            if process.dead:
                return
            if process.stopped:
                process.parked.append(handle)
                return
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Stalled(f"{MAX_STEPS} steps, and the time is {self._now:.3f} s")
        handle._run()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run a function later, all at once, and answer later still; it runs even if nobody waits any more."""
        answer = self.create_future()

        def begin() -> None:
            try:
                result = func(*args)
            except Busy as busy:
                self.call_later(busy.delay_s, begin)
            except Exception as error:  # noqa: BLE001  # whoever waits for the thread gets it
                self.call_later(self._some_time(), _settle, answer, None, error)
            else:
                self.call_later(self._some_time(), _settle, answer, result, None)

        self.call_later(self._some_time(), begin)
        return answer

    def _some_time(self) -> float:
        return self._rng.random() * self._thread_s

    def _write_to_self(self) -> None:
        """Nobody sleeps, so nobody is woken."""

    def _process_events(self, events: Any) -> None:
        """There are none."""

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        """Generators of killed processes just vanish."""

    def end(self) -> None:
        """Drop all that was still going on."""
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False
                task.get_coro().close()
        self._ready.clear()
        self.close()


def _settle(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)

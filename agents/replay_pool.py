"""The processes of a replay: each has some partitions; together they run until all is stored, or until told otherwise."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.synchronize
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager

import structlog

from agents.replay import ReplayWorker, Share
from agents.starting import spare_collector, warm_up
from agents.vault import Connection, Line
from pipeline import connections, logs, rules
from pipeline.core.errors import DatabaseUnavailable, NotOwner, PipelineError, SettingsError
from pipeline.core.selection import Selection
from pipeline.replaying import replays, stretches
from pipeline.replaying.replays import Replay, ReplayState, Wanted
from pipeline.replaying.stretches import RangeProgress
from pipeline.settings import Settings

log = structlog.get_logger(__name__)

_ASK_S = 0.5

ORPHAN_S = 30.0
"""How long a process may go on, to store what it has, once the one that started it is gone, s."""

ENDS = {Wanted.PAUSE: ReplayState.PAUSED, Wanted.STOP: ReplayState.STOPPED}

Stop = multiprocessing.synchronize.Event
_stop: Stop | None = None

Told = Callable[[Sequence[RangeProgress]], None]
"""Is given how far a replay is, about twice a second."""


def run(settings: Settings, replay: Replay, told: Told) -> ReplayState:
    """Run a replay's processes until it is complete, or paused, or stopped; return which.

    Raises
    ------
    SettingsError
        If it was begun with other rules, or by another group.
    NotOwner
        If somebody else works on it.
    PipelineError
        If it cannot go on; it is noted as failed, and can be resumed.
    KeyboardInterrupt
        After its processes have stored what they had; it is noted as paused.
    """
    replays.require_same(replay, rules.progress(settings, ""))
    line = Line(lambda: _locked(settings, replay.name, replays.claim))
    try:
        line.use(lambda c: _require_unfinished(c, replay.name))
        shares = _shares(replay, line.use(lambda c: stretches.progress_of(c, replay)))
        line.use(lambda c: replays.want(c, replay.name, Wanted.RUN))
        line.use(lambda c: replays.note(c, replay.name, ReplayState.RUNNING))
        with _processes(settings, shares) as futures:
            state = _watch(line, replay, futures, told)
    except KeyboardInterrupt:
        line.use(lambda c: replays.note(c, replay.name, ReplayState.PAUSED))
        raise
    except (NotOwner, SettingsError):
        raise
    except PipelineError as error:
        reason = str(error)
        line.use(lambda c: replays.note(c, replay.name, ReplayState.FAILED, reason))
        raise
    else:
        line.use(lambda c: replays.note(c, replay.name, state))
        return state
    finally:
        line.close()


def _require_unfinished(connection: Connection, name: str) -> None:
    state = replays.find(connection, name).state
    if state in {ReplayState.PROMOTED, ReplayState.STOPPED}:
        raise SettingsError(f"the replay {name!r} is {state} by now: nothing was done")


def _locked(settings: Settings, name: str, lock: Callable[[Connection, str], None]) -> Connection:
    """Open a connection that holds a lock of a replay for as long as it lasts."""
    connection = connections.database(settings, "pipeline replay")
    try:
        lock(connection, name)
    except BaseException:
        connection.close()
        raise
    return connection


def _shares(replay: Replay, ranges: Sequence[RangeProgress]) -> list[Share]:
    """Return what each process does: the longest stretches first, each to whoever has least."""
    unfinished = [each for each in ranges if not each.is_done]
    count = min(int(replay.options["processes"]), len(unfinished))
    mine: list[list[RangeProgress]] = [[] for _ in range(count)]
    held = [0] * count
    for each in sorted(unfinished, key=lambda each: -each.left):
        least = held.index(min(held))
        mine[least].append(each)
        held[least] += each.left
    rate = float(replay.options["rate"])
    selection = Selection.from_options(replay.options)
    return [
        Share(
            replay.name,
            replay.schema,
            {each.source: each.end for each in theirs},
            {each.source: each.stored_to for each in theirs},
            selection,
            rate / count,
        )
        for theirs in mine
    ]


@contextmanager
def _processes(settings: Settings, shares: Sequence[Share]) -> Iterator[list[Future[bool]]]:
    if not shares:
        yield []
        return
    # Spawned: a fork would share open connections and the threads' locks
    spawned = multiprocessing.get_context("spawn")
    stop = spawned.Event()
    with ProcessPoolExecutor(len(shares), spawned, initializer=_begin, initargs=(settings, stop)) as pool:
        # Ctrl-C is this process's to hear: it asks the others to store what they have. They inherit that from their beginning
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
        futures = [pool.submit(work, settings, share) for share in shares]
        signal.signal(signal.SIGINT, heard)
        try:
            yield futures
        finally:
            stop.set()


def _begin(settings: Settings, stop: Stop) -> None:
    global _stop  # noqa: PLW0603  # the only way from an initializer to the work
    _stop = stop
    logs.configure(settings.log.level, settings.log.format)
    threading.Thread(target=_outlive_nobody, daemon=True).start()


def _outlive_nobody() -> None:
    """End this process some time after the one that started it, which may have been killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        time.sleep(ORPHAN_S)
        os._exit(1)


def _watch(line: Line, replay: Replay, futures: Sequence[Future[bool]], told: Told) -> ReplayState:
    waiting = set(futures)
    try:
        while True:
            try:
                told(line.use(lambda c: stretches.progress_of(c, replay)))
            except DatabaseUnavailable as error:
                # The processes wait for it too
                log.warning("replay.waiting", reason=str(error))
            if not waiting:
                break
            done, waiting = wait(waiting, _ASK_S, FIRST_COMPLETED)
            for future in done:
                future.result()
    except BrokenExecutor as error:
        raise PipelineError("a process of the replay was killed; resumed, it goes on from what is stored") from error
    if all(future.result() for future in futures):
        return line.use(lambda c: _completed(c, replay))
    wanted = line.use(lambda c: replays.find(c, replay.name)).wanted
    return ENDS.get(wanted, ReplayState.PAUSED)


def _completed(connection: Connection, replay: Replay) -> ReplayState:
    lost = stretches.gaps(connection, replay)
    if lost and not replay.options["cold"]:
        raise PipelineError(
            f"the logs lost {len(lost)} stretch(es) before they were read, first {lost[0]}: the replay lacks them;"
            " start another with --cold if that is what you want"
        )
    return ReplayState.COMPLETE


def work(settings: Settings, share: Share) -> bool:
    """Do one process's share; return whether everything of it is stored."""
    warm_up()
    spare_collector()
    return asyncio.run(_work(settings, share))


async def _work(settings: Settings, share: Share) -> bool:
    worker = ReplayWorker(settings, share)
    listening = asyncio.create_task(_listen(settings, share.replay, worker))
    try:
        return await worker.run()
    finally:
        listening.cancel()


async def _listen(settings: Settings, name: str, worker: ReplayWorker) -> None:
    """Stop the worker when something else is wanted, or when whoever started it says so or is gone."""
    parent, line = multiprocessing.parent_process(), Line(lambda: _locked(settings, name, replays.share))
    try:
        while not (_stop is not None and _stop.is_set()) and (parent is None or parent.is_alive()):
            try:
                replay = await asyncio.to_thread(line.use, lambda c: replays.find(c, name))
                if replay.wanted is not Wanted.RUN:
                    break
            except NotOwner:
                break
            except DatabaseUnavailable as error:
                log.info("replay.unasked", reason=str(error))
            await asyncio.sleep(_ASK_S)
        worker.stop()
    finally:
        line.close()

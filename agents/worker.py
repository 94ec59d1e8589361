"""One worker: the app, the partitions and the flusher, wired together."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import faust
import structlog

from agents.controls import ControlPoll
from agents.observed import ObservedVault
from agents.relay import DatabaseOutbox, Relay, RelayRules
from agents.stages import stages
from agents.starting import spare_collector, warm_up
from agents.ticker import Ticker
from agents.vault import Connection
from agents.vitals import Vitals
from pipeline import connections, rules
from pipeline.broker.app import batch_topic, create_app
from pipeline.broker.evidence import Witness
from pipeline.broker.publishing import Publisher
from pipeline.broker.transport import BatchConsumer
from pipeline.core.errors import NoProgress, PipelineError, ProgramFault
from pipeline.core.records import RecordBatch
from pipeline.crash_points import CrashPoint, reached
from pipeline.metrics import Metrics
from pipeline.settings import Settings
from pipeline.store import oee
from pipeline.store.event_partitions import summarize
from pipeline.store.progress import Progress

log = structlog.get_logger(__name__)

FINISH_S = 10.0
"""How long a stopping worker may take to store what it has; what is left, the next owner folds again."""


PARTITIONS_INTERVAL_S = 3600.0
"""How often a worker sees to the days ahead of ``event``."""

SUMMARIES_INTERVAL_S = 60.0
"""How often a worker sees to the indexes of ``event``; what came since, who looks for offsets reads row by row."""


class Worker:
    """A Faust app that folds batches and stores their effects.

    Parameters
    ----------
    settings
        Checked settings.
    name
        For people: rows and logs say which worker it was.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self.failure: PipelineError | None = None
        progress = rules.progress(settings, name)
        self.metrics = Metrics()
        alerts = rules.alert_rules(settings)
        keep_every_s = settings.flush.snapshot_history_h * 3600
        self._vault = ObservedVault(self._connect, progress, self.metrics, time.monotonic, alerts, keep_every_s)
        wired = stages(settings, self._vault)
        self.partitions, self.ownership = wired.partitions, wired.ownership
        self._telemetry, self._flusher = wired.telemetry, wired.flusher
        self._controls = ControlPoll(wired.partitions, self._vault.controls_since, wired.ownership.want_again)
        member = connections.group_member(settings)
        self._witness = Witness(member.address, member.security)
        self._relay = self._new_relay(progress) if alerts is not None else None
        self.app = create_app(member, self.ownership)
        self.vitals = Vitals(
            settings, self.app, self.partitions, self.ownership, self._vault, self.metrics, time.monotonic
        )
        self._ticker = Ticker(
            self.partitions,
            self.vitals.inspector,
            settings.silence.tick_s,
            time.monotonic,
            lambda: time.time_ns() // 1_000_000,
            self._vault.clock_ms,
        )
        self._register()

    def _connect(self, autocommit: bool) -> Connection:
        return connections.database(self._settings, "pipeline worker", autocommit=autocommit)

    def _new_relay(self, progress: Progress) -> Relay:
        publisher = Publisher(self._settings.broker.address, connections.broker_security(self._settings))
        when = RelayRules(keep_s=self._settings.outbox.retention_s)
        box = DatabaseOutbox(self._connect, progress)
        return Relay(self.partitions, box, publisher, when, self.metrics, time.monotonic)

    def _register(self) -> None:
        app = self.app
        topic = batch_topic(app, self._settings.source_topics)

        async def telemetry(stream: Any) -> None:
            await self._guard(self._telemetry.run(_batches(stream, self.vitals)))

        app.agent(topic, name="telemetry")(telemetry)
        app.task(lambda: self._guard(self._acquire()))
        app.task(lambda: self._guard(self._flush()))
        app.task(lambda: self._guard(self._controls.run()))
        app.task(lambda: self._guard(self._publish_marks()))
        app.task(lambda: self._guard(self._see_to(PARTITIONS_INTERVAL_S, self._vault.make_partitions)))
        app.task(lambda: self._guard(self._see_to(SUMMARIES_INTERVAL_S, self._summarize)))
        app.task(lambda: self._guard(self._see_to(self._settings.oee.refresh_interval_s, self._refresh_oee)))
        app.task(lambda: self._guard(cast(BatchConsumer, app.consumer).until_displaced()))
        if self._settings.silence.tick_s:
            app.task(lambda: self._guard(self._ticker.run()))
        if self._relay is not None:
            relay = self._relay
            app.task(lambda: self._guard(relay.run()))
        app.task(self.vitals.beat)

    async def _guard(self, work: Any) -> None:
        """End the worker when a part of it fails for good; Faust alone would start it again and go on."""
        try:
            await work
        except PipelineError as error:
            await self._fail(error)
        except asyncio.CancelledError:
            if self.app.should_stop:
                raise
            # Whatever raised it, nobody cancelled this part: it would be missing from now on, without a word
            await self._fail(NoProgress("a part of the worker ended though nobody had stopped it"))

    async def _fail(self, error: PipelineError) -> None:
        self.failure = error
        log.error("worker.failed", reason=str(error))
        await self.app.crash(error)

    async def _acquire(self) -> None:
        await self.ownership.acquire_for_ever(lambda: self.app.consumer_generation_id, self._witness.ask)

    async def _flush(self) -> None:
        await self._flusher.run()

    async def drain(self) -> None:
        """Fold no more, store what there is, keep every state; what takes too long the next owner folds again."""
        self.vitals.stopping()
        self.partitions.close()
        try:
            reached(CrashPoint.DRAINING)
            async with asyncio.timeout(FINISH_S):
                if self._relay is not None:
                    self._relay.close()
                # First: the relay may be waiting for a broker that is away
                await self._flusher.finish()
                if self._relay is not None:
                    await self._relay.finish()
        except (PipelineError, TimeoutError) as error:
            log.warning("worker.not_drained", reason=str(error) or f"not done within {FINISH_S:.0f} s")
        except Exception as error:  # the app must be stopped all the same, or the process never ends
            log.error("worker.not_drained", reason=repr(error), exc_info=error)
        self._vault.close()

    async def _see_to(self, interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await work()
            except PipelineError as error:
                log.warning("upkeep.failed", reason=str(error))

    async def _summarize(self) -> None:
        await self._vault.apart(summarize)

    async def _refresh_oee(self) -> None:
        # A transaction each, so that a worker that is told to stop need not wait for the last one
        while await self._vault.apart(oee.refresh):
            pass

    async def _publish_marks(self) -> None:
        while True:
            await asyncio.sleep(self._settings.flush.offset_commit_interval_s)
            await cast(BatchConsumer, self.app.consumer).publish_marks(self.partitions.stored())


async def _batches(stream: Any, vitals: Vitals) -> AsyncIterator[RecordBatch]:
    async for event in stream.events():
        vitals.received(event.value)
        yield event.value


class _Process(faust.Worker):
    """The process around the app: it drains the worker while the app still owns its partitions, then stops the app."""

    # What the base class says about its life belongs to Faust's lines, not to ours
    logger = logging.getLogger("faust.worker")

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker.app, loglevel="info", override_logging=False, quiet=True)
        self._draining = worker.drain
        # Faust draws it on standard output even when told to be quiet
        self.spinner = None

    async def on_stop(self) -> None:
        await self._draining()
        await super().on_stop()


def worker_name() -> str:
    """Return a name for this process: host and pid."""
    return f"{socket.gethostname()}-{os.getpid()}"


def run(settings: Settings, name: str | None = None) -> None:
    """Run a worker until it is told to stop.

    Raises
    ------
    PipelineError
        If it had to stop by itself.
    ProgramFault
        If something ended it that nobody expected.
    """
    worker = Worker(settings, name or worker_name())
    warm_up()
    spare_collector()
    log.info("worker.starting", group=settings.group, topics=settings.source_topics)
    worker.vitals.start()
    try:
        _Process(worker).execute_from_commandline()
    except SystemExit as end:
        if worker.failure is not None:
            raise worker.failure from None
        if end.code:
            cause = worker.app.crash_reason or end.__context__
            raise ProgramFault(f"the worker was ended by {cause!r}; its log says where that was raised") from end
    finally:
        worker.vitals.close()
    log.info("worker.stopped")

"""The worker's vital signs: who watches it, and what it says about itself."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import cast

import faust
import psycopg
import structlog

from agents import stacks
from agents.gauges import Gauges
from agents.observed import ObservedVault
from agents.watchdog import Part, Sight, Standing, Subject, Watch, Watchdog
from pipeline import connections
from pipeline.broker.inspector import Inspector
from pipeline.broker.ownership import Ownership
from pipeline.broker.transport import BatchTransport
from pipeline.core.errors import NoProgress, PipelineError
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.health import HealthServer, Verdict
from pipeline.lag import LagHistory
from pipeline.metrics import Metrics
from pipeline.settings import Settings
from pipeline.store import figures
from tables.partitions import Partitions

log = structlog.get_logger(__name__)

BEAT_S = 0.25
"""How often the event loop shows that it comes round, s."""

ANSWER_S = 30.0
"""How long the database may owe an answer before the worker is not ready, s."""

LAST_WORDS_S = 10.0
"""How long writing the stacks may take, s: whoever reads them may have stopped reading."""


class Vitals:
    """Watches a worker and answers for it.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        app: faust.App,
        partitions: Partitions,
        ownership: Ownership,
        vault: ObservedVault,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._partitions, self._ownership = settings, partitions, ownership
        self._vault, self._metrics, self._clock = vault, metrics, clock
        self._transport = cast(BatchTransport, app.transport)
        broker = settings.broker
        self.inspector = Inspector(broker.address, connections.broker_security(settings), settings.group)
        self._lags: dict[SourcePartition, LagHistory] = {}
        self._beats = 0
        self._stopping = False
        self._watch = Watch(settings.watchdog.no_progress_s)
        self._watchdog = Watchdog(self._watch, self, clock)
        metrics.registry.register(Gauges(partitions, ownership, vault, self._transport, self._watch, self._lags, clock))
        self._server: HealthServer | None = None

    def start(self) -> None:
        """Watch and answer from now on; raises :class:`SettingsError` if nothing can listen at ``health.address``."""
        if self._settings.health.address:
            verdicts = {"/livez": self.alive, "/readyz": self.ready}
            self._server = HealthServer(self._settings.health.address, verdicts, self._metrics.registry)
            self._server.start()
            log.info("health.listening", address=self._server.address)
        self._watchdog.start()

    def stopping(self) -> None:
        """Watch nothing from now on but that the worker ends."""
        self._stopping = True

    def close(self) -> None:
        """Watch and answer no more."""
        self._watchdog.close()
        self.inspector.close()
        if self._server is not None:
            self._server.close()

    async def beat(self) -> None:
        """Show again and again that the event loop comes round."""
        while True:
            self._beats += 1
            began = self._clock()
            await asyncio.sleep(BEAT_S)
            self._metrics.loop_delay_s.observe(max(0.0, self._clock() - began - BEAT_S))

    def received(self, batch: RecordBatch) -> None:
        """Count a batch that was fetched."""
        held = self._partitions.owned.get(batch.source)
        self._metrics.received(
            batch.source, len(batch.records), again=held is not None and batch.next <= held.marks.effects
        )

    # -- answers -----------------------------------------------------------------------------------------------------

    def alive(self) -> Verdict:
        """Say whether the watchdog lets the worker live."""
        longest = self._watch.longest()
        still_s = round(longest[1], 1) if longest is not None else 0.0
        verdict = self._watchdog.verdict
        reason = verdict or "nothing stands still for long"
        return Verdict(verdict is None, reason, {"no_progress_s": still_s, "limit_s": self._watch.limit_s})

    def ready(self) -> Verdict:
        """Say whether the worker is in its group, owns what it was given, and is answered by the database."""
        consumer, waiting = self._transport.consumer, len(self._ownership.waiting)
        assigned, owned = len(self._ownership.assigned), len(self._partitions.owned)
        if self._stopping:
            reason = "the worker is stopping"
        elif consumer is None or not consumer.member_id:
            reason = "the worker has not joined its group yet"
        elif self._vault.refusal is not None:
            reason = self._vault.refusal
        elif self._vault.waited_s() > ANSWER_S:
            reason = f"the database has owed an answer for {self._vault.waited_s():.0f} s"
        elif waiting or owned < assigned:
            reason = "assigned partitions are being acquired"
        else:
            return Verdict(True, "all assigned partitions are owned", {"assigned": assigned, "owned": owned})
        return Verdict(False, reason, {"assigned": assigned, "owned": owned})

    # -- for the watchdog, in its thread -----------------------------------------------------------------------------

    def sight(self) -> Sight:
        """Return what the worker looks like now."""
        assigned = frozenset(self._ownership.assigned)
        held = {
            source: Standing(partition.position, partition.effects_mark, partition.windows_mark)
            for source, partition in dict(self._partitions.owned).items()
        }
        return Sight(self._beats, self._vault.refusals, self._stopping, assigned, held, self._ends(assigned))

    def _ends(self, assigned: frozenset[SourcePartition]) -> dict[SourcePartition, int] | None:
        try:
            ends = self.inspector.ends(assigned)
        except PipelineError as error:
            log.debug("watchdog.blind", reason=str(error))
            return None
        now = self._clock()
        for source, end in ends.items():
            self._lags.setdefault(source, LagHistory()).look(now, end)
        return ends

    def excuse(self, subject: Subject, sight: Sight) -> str | None:
        """Return who else is to blame for something that stands still; ``None`` if nobody is."""
        try:
            if subject is Part.GROUP:
                consumer = self._transport.consumer
                is_member = consumer is not None and self.inspector.has_member(consumer.member_id)
                return "the group has no partition left for it" if is_member else None
            if isinstance(subject, Part):
                return None
            at = sight.held.get(subject)
            if at is None and self._partitions.loading is not None:
                return f"the state of {self._partitions.loading} is loaded"
            nothing_waits = at is not None and at.position == at.effects
            if at is not None and nothing_waits and not self.inspector.has_record(subject, at.position):
                return "its log ends in something that is no record"
            return self._database_excuse()
        except PipelineError as error:
            return str(error)

    def _database_excuse(self) -> str | None:
        with connections.database(self._settings, "pipeline watchdog") as connection:
            try:
                busy = figures.at_work(connection, self._vault.backends())
            except psycopg.Error as error:
                return str(error)
        return "the database is at work for this worker" if busy else None

    def end(self, reason: str) -> None:
        """End the process, with the reason in one line and the stacks after it."""
        threading.Timer(LAST_WORDS_S, os._exit, [NoProgress.exit_code]).start()
        try:
            log.error("worker.no_progress", reason=reason)
            consumer = self._transport.consumer
            stacks.write(consumer.loops if consumer is not None else (), sys.stderr)
        finally:
            os._exit(NoProgress.exit_code)

"""Where an import's messages go: into a topic, each once, or into a file."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from pipeline.broker.complaints import MessageRefused
from pipeline.broker.publishing import LARGEST_BYTES, Key, Publisher
from pipeline.core.errors import BrokerUnavailable, SettingsError
from pipeline.core.times import iso
from pipeline.tabular import progress as keeping
from pipeline.tabular.judging import Judged
from pipeline.tabular.progress import Progress

BATCH = 10_000
"""Messages that are acknowledged together."""

_DAY_MS = 86_400_000


class Destination(Protocol):
    """Where messages go."""

    @property
    def sent(self) -> int:
        """Messages that were sent now."""

    @property
    def there(self) -> int:
        """Messages that had been sent by an earlier run."""

    def add(self, judged: Judged) -> None:
        """Take messages."""

    def finish(self) -> None:
        """Return when all messages are where they should be."""


class HistoryMessage(NamedTuple):
    """A message of an import, as :class:`pipeline.broker.publishing.Publisher` takes it."""

    topic: str
    key: str
    body: bytes
    timestamp_ms: int
    place: int = 0

    @property
    def headers(self) -> list[tuple[str, str | bytes | None]]:
        """None."""
        return []


class Nowhere:
    """Takes messages and sends them nowhere; as a context, more files than one."""

    sent = there = 0

    def __enter__(self) -> Nowhere:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Do nothing."""

    def add(self, judged: Judged) -> None:
        """Take messages."""

    def finish(self) -> None:
        """Do nothing: more files may follow."""


class Lines(Nowhere):
    """A file of canonical messages, one a line; it has its name once it is whole.

    Raises
    ------
    SettingsError
        If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(path.name + ".part")
        try:
            self._file = self._part.open("wb")
        except OSError as error:
            raise SettingsError(f"--output {path} cannot be written: {error.strerror}") from error

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._file.close()
        if error is None:
            self._part.replace(self._path)
        else:
            self._part.unlink()

    def add(self, judged: Judged) -> None:
        """Write messages."""
        self._file.writelines(body + b"\n" for body in judged.bodies)


class Topic:
    """A topic that gets each message of an import once, also if it was interrupted before.

    1. Before a batch goes out, what was delivered and how far this batch goes is kept (:class:`Progress`).
    2. The batch is published, and all of it is acknowledged.
    3. When an import goes on, what was under way is looked for in the topic, and what is there is not sent again.

    Parameters
    ----------
    progress, path
        How far the import has come, and the file that says so.
    rate
        Messages per second at most; 0: as fast as it goes.
    keeps_ms
        For how long the topic keeps records by their own time, ms; ``None``: that decides nothing.
    event_time
        Whether records get the time of their event; else the present one.
    """

    def __init__(
        self,
        publisher: Publisher,
        name: str,
        progress: Progress,
        path: Path,
        *,
        rate: float,
        keeps_ms: int | None,
        event_time: bool,
    ) -> None:
        self._publisher, self._name = publisher, name
        self._progress, self._path = progress, path
        self._rate, self._keeps_ms, self._event_time = rate, keeps_ms, event_time
        self._batch = min(BATCH, max(1, int(rate / 4))) if rate else BATCH
        self._skip = progress.delivered
        self._in_doubt = progress.sending_to - progress.delivered
        self._waiting: list[HistoryMessage] = []
        self._due_s = time.monotonic()
        self.sent = 0
        """Messages that were sent now."""
        self.there = progress.delivered
        """Messages that the topic had from an earlier run."""

    def add(self, judged: Judged) -> None:
        """Take messages; send what has come together.

        Raises
        ------
        BrokerUnavailable
            If the broker does not take them; the import can go on later.
        SettingsError
            If the broker would delete them at once, or will never take one of them.
        """
        skipped = min(self._skip, len(judged.bodies))
        self._skip -= skipped
        self._waiting += self._messages(judged, skipped)
        while len(self._waiting) >= max(self._batch, self._in_doubt, 1):
            self._send(max(self._batch, self._in_doubt))

    def finish(self) -> None:
        """Send what is left, and note that the import is complete; raises as :meth:`add` does."""
        while self._waiting:
            self._send(max(self._batch, self._in_doubt))
        self._progress.complete = True
        keeping.write(self._path, self._progress)

    def _messages(self, judged: Judged, begin: int) -> Iterator[HistoryMessage]:
        now_ms = self._progress.began_ms
        for i in range(begin, len(judged.bodies)):
            # Never ahead of the broker's clock, which may refuse it
            stamp = min(judged.times_ms[i], now_ms) if self._event_time else 0
            yield HistoryMessage(self._name, judged.machine_ids[i], judged.bodies[i], stamp, judged.places[i])

    def _send(self, count: int) -> None:
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        progress = self._progress
        try:
            fresh = self._not_there(batch) if self._in_doubt else batch
            self._require_kept(fresh)
            progress.sending_to = progress.delivered + len(batch)
            keeping.write(self._path, progress)
            ends = self._publisher.publish(fresh)
        except MessageRefused as error:
            raise self._refused(error, fresh) from error
        except BrokerUnavailable as error:
            raise BrokerUnavailable(
                f"{error}; run the same command again, it goes on behind {self._delivered}"
            ) from error
        progress.ends |= {source.partition: end for source, end in ends.items()}
        progress.delivered += len(batch)
        self.sent += len(fresh)
        self.there += len(batch) - len(fresh)
        self._in_doubt = 0
        self._wait(len(fresh))

    def _refused(self, error: MessageRefused, batch: Sequence[HistoryMessage]) -> SettingsError:
        """Return what to do about a message that is refused however often it is sent."""
        lines = f"lines {batch[0].place} to {batch[-1].place}"
        return SettingsError(
            f"{error}; topic {self._name} never takes what {lines} say. What is too large needs another max.message.bytes,"
            f" {LARGEST_BYTES:,} for batches of any messages; whose time is refused, another message.timestamp.before.max.ms or"
            " message.timestamp.after.max.ms, or --timestamps now. Then run the same command again, it goes on behind"
            f" {self._delivered}"
        )

    @property
    def _delivered(self) -> str:
        return f"{self._progress.delivered:,} message(s)"

    def _not_there(self, batch: Sequence[HistoryMessage]) -> list[HistoryMessage]:
        """Return what of a batch the topic lacks, the first of which may be there since the run before."""
        wanted: Counter[Key] = Counter((each.key.encode(), each.body) for each in batch[: self._in_doubt])
        found = self._publisher.find(self._name, wanted, self._progress.ends)
        fresh = []
        for each in batch:
            key = each.key.encode(), each.body
            if found[key]:
                found[key] -= 1
            else:
                fresh.append(each)
        return fresh

    def _require_kept(self, batch: Sequence[HistoryMessage]) -> None:
        """Refuse to send what the broker would delete before anybody has read it."""
        if self._keeps_ms is None or not self._event_time or not batch:
            return
        oldest = min(batch, key=lambda each: each.timestamp_ms)
        if oldest.timestamp_ms < time.time() * 1000 - self._keeps_ms:
            raise SettingsError(
                f"topic {self._name} keeps records for {self._keeps_ms / _DAY_MS:.1f} days by their own time, and line"
                f" {oldest.place} is of {iso(oldest.timestamp_ms)}: the broker would delete it before it is read; raise the"
                " topic's retention.ms, make a topic with --create, or use --timestamps now"
            )

    def _wait(self, count: int) -> None:
        """Wait until so many messages were due."""
        if self._rate:
            self._due_s = max(self._due_s, time.monotonic() - 1) + count / self._rate
            time.sleep(max(0.0, self._due_s - time.monotonic()))

"""A small topic beside the main one, whose log is damaged on purpose: what is gone must be a gap, and nothing else.

The driver itself writes it, so that it knows every record; a message says in its machine id which life of the topic it
belongs to.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.broker import topics
from pipeline.broker.security import BrokerSecurity
from pipeline.core.windowing.windows import BASE_MS
from tests.chaos.stand import SIDE
from tests.system.producing import message

PARTITIONS = 2


@dataclass(frozen=True)
class Gap:
    """Records ``[first, end)`` that are gone, of one life of the topic."""

    life: int
    partition: int
    first: int
    end: int


@dataclass
class SideReport:
    """What became of the side topic."""

    sent: int
    stored: int
    lost: int
    in_gaps: int
    doubled: int
    windows: int
    windows_wrong: int
    gaps_expected: list[Gap]
    wrong: list[str]

    @property
    def holds(self) -> bool:
        """Whether exactly what is in the gaps is lost."""
        return not self.wrong


class SideTopic:
    """The topic and what was put into it.

    Parameters
    ----------
    address
        Of the broker, past the proxy.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self.life = 0
        self.gaps: list[Gap] = []
        self._recreated: list[tuple[int, int]] = []
        self._sent: dict[tuple[int, int, int], tuple[str, int, float]] = {}
        self.end = [0] * PARTITIONS

    def send(self, count: int) -> None:
        """Put so many records into each partition, and wait until the broker has them."""
        producer = Producer({"bootstrap.servers": self._address, "enable.idempotence": True, "log_level": 2})
        failures: list[str] = []
        for partition in range(PARTITIONS):
            for nth in range(count):
                self._send(producer, partition, self.end[partition] + nth, failures)
            self.end[partition] += count
        producer.flush(60)
        if failures:
            raise RuntimeError(failures[0])

    def _send(self, producer: Producer, partition: int, offset: int, failures: list[str]) -> None:
        machine = f"side-{self.life}-{partition}-{offset % 7}"
        now_ms = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
        time = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC).isoformat(timespec="milliseconds")[:23] + "Z"
        value = 50.0 + offset % 11
        body = message(machine, offset, time=time, readings={"temperature": value})
        self._sent[self.life, partition, offset] = machine, now_ms, value

        def delivered(error: Any, record: Any) -> None:
            if error is not None or record.offset() != offset:
                failures.append(f"{error or record.offset()} instead of offset {offset}")

        producer.produce(SIDE, orjson.dumps(body), machine.encode(), partition, on_delivery=delivered)
        producer.poll(0)

    def delete_before(self, offsets: list[int]) -> None:
        """Move the log's start of each partition, as retention does."""
        client = AdminClient({"bootstrap.servers": self._address, "log_level": 2})
        wanted = [TopicPartition(SIDE, partition, offset) for partition, offset in enumerate(offsets)]
        for answer in client.delete_records(wanted).values():
            answer.result(30)

    def recreate(self) -> None:
        """Delete the topic and make it anew, empty."""
        topics.delete_topics(self._address, BrokerSecurity(), [SIDE])
        for _ in range(50):
            if topics.create_topics(self._address, BrokerSecurity(), [SIDE], PARTITIONS):
                break
        self._recreated += list(enumerate(self.end))
        self.life += 1
        self.end = [0] * PARTITIONS

    def report(self, connection: psycopg.Connection) -> SideReport:
        """Compare what was sent, less the expected gaps, with what is stored."""
        events = connection.execute(
            "SELECT source_partition, source_offset, machine_id, (extract(epoch FROM event_time) * 1000)::bigint FROM event"
            " WHERE source_topic = %s AND event_type = 'Telemetry Ingest'",
            [SIDE],
        ).fetchall()
        stored = sorted((machine.split("-")[1], partition, offset, at) for partition, offset, machine, at in events)
        gone = {(gap.life, gap.partition, offset) for gap in self.gaps for offset in range(gap.first, gap.end)}
        due = sorted(
            (str(life), partition, offset, at)
            for (life, partition, offset), (_, at, _) in self._sent.items()
            if (life, partition, offset) not in gone
        )
        wrong = [f"lost {key}" for key in sorted(set(due) - set(stored))[:5]]
        wrong += [f"unexpected {key}" for key in sorted(set(stored) - set(due))[:5]]
        doubled = len(stored) - len(set(stored))
        wrong += [f"doubled: {doubled}"] if doubled else []
        wrong += self._wrong_gaps(connection)
        windows, windows_wrong = self._windows(connection, gone)
        wrong += windows_wrong
        return SideReport(
            sent=len(self._sent),
            stored=len(stored),
            lost=len(self._sent) - len(set(stored)),
            in_gaps=len(gone & set(self._sent)),
            doubled=doubled,
            windows=windows,
            windows_wrong=len(windows_wrong),
            gaps_expected=self.gaps,
            wrong=wrong,
        )

    def _wrong_gaps(self, connection: psycopg.Connection) -> list[str]:
        found = connection.execute("SELECT topic, partition, from_offset, to_offset, reason FROM source_gap").fetchall()
        moved = sorted(gap[:4] for gap in found if gap[4] == "log_start_moved")
        due = sorted((SIDE, gap.partition, gap.first, gap.end) for gap in self.gaps)
        # Of a topic that was recreated everything was stored, so that no record is lost: the row says up to where the
        # former life had come
        others = sorted(
            (topic, partition, end) for topic, partition, _, end, reason in found if reason != "log_start_moved"
        )
        lives = sorted((SIDE, partition, end) for partition, end in self._recreated)
        return [
            f"gaps are {rows} instead of {wanted}" for rows, wanted in ((moved, due), (others, lives)) if rows != wanted
        ]

    def _windows(self, connection: psycopg.Connection, gone: set[tuple[int, int, int]]) -> tuple[int, list[str]]:
        due: dict[tuple[str, int], list[float]] = {}
        for key, (machine, at, value) in self._sent.items():
            if key not in gone:
                due.setdefault((machine, at // BASE_MS * BASE_MS), []).append(value)
        rows = connection.execute(
            "SELECT machine_id, (extract(epoch FROM window_start) * 1000)::bigint, count, min, max, mean FROM reading_window"
            " WHERE machine_id LIKE 'side-%'"
        ).fetchall()
        found = {
            (machine, start): (count, low, high, round(mean, 6)) for machine, start, count, low, high, mean in rows
        }
        wanted = {key: (len(v), min(v), max(v), round(sum(v) / len(v), 6)) for key, v in due.items()}
        differing = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
        return len(wanted), [f"window {key}: {found.get(key)} instead of {wanted.get(key)}" for key in differing[:5]]

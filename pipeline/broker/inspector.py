"""A look at the broker that does not depend on the consumer: how long are the logs, is a record there, who is in the group."""

from __future__ import annotations

import time
from collections.abc import Collection

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.broker.complaints import SILENT
from pipeline.broker.security import BrokerSecurity
from pipeline.broker.topics import LATEST, Admin, offsets
from pipeline.core.errors import BrokerUnavailable
from pipeline.core.records import SourcePartition

ANSWER_S = 5.0
"""Longest wait for an answer, s."""


class Inspector:
    """Asks with a client of another library, in no group, from any thread; each call blocks for :data:`ANSWER_S` at most.

    Parameters
    ----------
    address
        ``host:port`` of one or more brokers, separated by commas.
    group
        The group whose members are asked for.
    """

    def __init__(self, address: str, security: BrokerSecurity, group: str) -> None:
        self._address, self._security, self._group = address, security, group
        self._admin: Admin | None = None

    def ends(self, sources: Collection[SourcePartition]) -> dict[SourcePartition, int]:
        """Return the next offset of each partition's log.

        Raises
        ------
        PipelineError
            If the broker does not say.
        """
        with self._connected() as admin:
            return offsets(admin, sorted(sources), LATEST)

    def has_member(self, member_id: str) -> bool:
        """Return whether the group knows a member; raises :class:`PipelineError` if the broker does not say."""
        with self._connected() as admin:
            asked = admin.client.describe_consumer_groups([self._group], request_timeout=ANSWER_S)
            return any(member.member_id == member_id for member in asked[self._group].result().members)

    def has_record(self, source: SourcePartition, position: int) -> bool:
        """Return whether there is a record to read at a position or after it: a log may end in markers, which are none.

        Raises
        ------
        BrokerUnavailable
            If the broker does not say.
        """
        reader = Consumer(
            {
                "bootstrap.servers": self._address,
                # Must be given; nothing is joined and nothing committed
                "group.id": self._group,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_uncommitted",
                "auto.offset.reset": "earliest",
                **self._security.for_librdkafka(),
            },
            logger=SILENT,
        )
        try:
            reader.assign([TopicPartition(*source, position)])
            return _first_answer(reader, source)
        except KafkaException as error:
            raise BrokerUnavailable(f"the broker does not show the log of {source}: {error}") from error
        finally:
            reader.close()

    def close(self) -> None:
        """End the connections, and the client's own thread: it must not call into an interpreter that is going down."""
        self._admin = None

    def _connected(self) -> Admin:
        # Kept: its connections are made once, and asking costs one small request per broker
        if self._admin is None:
            self._admin = Admin(self._address, self._security, ANSWER_S)
        return self._admin


def _first_answer(reader: Consumer, source: SourcePartition) -> bool:
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        answer = reader.poll(0.2)
        error = answer.error() if answer is not None else None
        if answer is not None and error is None:
            return True
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            return False
    raise BrokerUnavailable(f"the broker does not show the log of {source} within {ANSWER_S:.0f} s")

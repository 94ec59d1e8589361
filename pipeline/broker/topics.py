"""Administration of the broker: is it there, which topics has it, what do their logs hold."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._metadata import ClusterMetadata
from confluent_kafka.cimpl import NewTopic

from pipeline.broker.complaints import SILENT, text
from pipeline.broker.security import BrokerSecurity
from pipeline.core.errors import BrokerUnavailable, PipelineError, SettingsError
from pipeline.core.records import SourcePartition

ANSWER_S = 15.0
"""How long a broker may take to answer, s."""

_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # not annotated in the library
LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # not annotated in the library


@dataclass(frozen=True, slots=True)
class Cluster:
    """A broker that answered."""

    cluster_id: str
    brokers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TopicSummary:
    """A topic and how many partitions it has."""

    name: str
    partitions: int


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """What the log of one partition holds: ``[low, high)``."""

    partition: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic and what its logs hold."""

    name: str
    partitions: tuple[PartitionRange, ...]


def check_reachable(address: str, security: BrokerSecurity, timeout_s: float = ANSWER_S) -> Cluster:
    """Ask the broker who it is.

    Parameters
    ----------
    address
        ``host:port`` of one or more brokers, separated by commas.
    timeout_s
        How long to wait for the answer, s.

    Raises
    ------
    BrokerUnavailable
        It does not answer.
    SettingsError
        It refuses the login, or what it presents cannot be trusted.
    """
    with Admin(address, security, timeout_s) as admin:
        found = admin.metadata()
    brokers = tuple(f"{broker.host}:{broker.port}" for broker in found.brokers.values())
    return Cluster(found.cluster_id or "", brokers)


def list_topics(address: str, security: BrokerSecurity, timeout_s: float = ANSWER_S) -> list[TopicSummary]:
    """Return the topics, without the broker's own, by name."""
    with Admin(address, security, timeout_s) as admin:
        found = admin.metadata().topics
    return [TopicSummary(name, len(found[name].partitions)) for name in sorted(found) if not name.startswith("__")]


def require(address: str, security: BrokerSecurity, names: Sequence[str], timeout_s: float = ANSWER_S) -> None:
    """Check that the broker answers and has these topics.

    Raises
    ------
    BrokerUnavailable
        It does not answer.
    SettingsError
        A topic is missing, or the login is refused.
    """
    with Admin(address, security, timeout_s) as admin:
        _partitions_of(admin, names)


def create_topics(
    address: str,
    security: BrokerSecurity,
    names: Sequence[str],
    partitions: int,
    replication: int = 1,
    *,
    properties: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> list[str]:
    """Create those of the topics that are missing, and return their names; one that exists is left as it is.

    Parameters
    ----------
    partitions, replication
        Of each new topic.
    properties
        More of them, by the names that Apache Kafka has for them; where none are given the broker's defaults hold.

    Raises
    ------
    PipelineError
        The broker refuses, as Event Hubs does.
    """
    created = []
    with Admin(address, security, timeout_s) as admin:
        present = admin.metadata().topics
        # A name may be given twice
        missing = [name for name in dict.fromkeys(names) if name not in present]
        wanted = [
            NewTopic(name, num_partitions=partitions, replication_factor=replication, config=dict(properties or {}))
            for name in missing
        ]
        answers = admin.client.create_topics(wanted, operation_timeout=timeout_s) if wanted else {}
        for name, answer in answers.items():
            try:
                answer.result()
            except KafkaException as error:
                if _code(error) == KafkaError.TOPIC_ALREADY_EXISTS:
                    continue
                raise PipelineError(
                    f"the broker does not create topic {name}: {text(error)}; create it with your provider's tools"
                ) from error
            created.append(name)
        _wait_for_logs(admin, created, timeout_s)
    return created


def delete_topics(address: str, security: BrokerSecurity, names: Sequence[str], timeout_s: float = ANSWER_S) -> None:
    """Delete topics with what they hold; one that is not there is left out.

    Raises
    ------
    BrokerUnavailable
        The broker does not answer, or refuses.
    """
    with Admin(address, security, timeout_s) as admin:
        present = admin.metadata().topics
        found = [name for name in names if name in present]
        for answer in (admin.client.delete_topics(found) if found else {}).values():
            answer.result()


def log_ranges(
    address: str, security: BrokerSecurity, names: Sequence[str], timeout_s: float = ANSWER_S
) -> dict[SourcePartition, tuple[int, int]]:
    """Return what the log of each partition holds, as offsets ``[low, high)``.

    Raises
    ------
    BrokerUnavailable
        The broker does not answer.
    SettingsError
        A topic is missing, or the login is refused.
    """
    with Admin(address, security, timeout_s) as admin:
        sources = _partitions_of(admin, names)
        low = offsets(admin, sources, _EARLIEST)
        high = offsets(admin, sources, LATEST)
    return {source: (low[source], high[source]) for source in sources}


def describe(
    address: str, security: BrokerSecurity, names: Sequence[str], timeout_s: float = ANSWER_S
) -> list[TopicDescription]:
    """Return the topics with what their logs hold; raises as :func:`log_ranges` does."""
    ranges = log_ranges(address, security, names, timeout_s)
    return [
        TopicDescription(
            name,
            tuple(
                PartitionRange(source.partition, *ranges[source]) for source in sorted(ranges) if source.topic == name
            ),
        )
        for name in dict.fromkeys(names)
    ]


def committed(
    address: str, security: BrokerSecurity, group: str, timeout_s: float = ANSWER_S
) -> dict[SourcePartition, int]:
    """Return the offsets that a consumer group has committed; empty for a group that never did."""
    with Admin(address, security, timeout_s) as admin:
        asked = admin.client.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=timeout_s
        )
        found = asked[group].result().topic_partitions or []
    return {SourcePartition(each.topic, each.partition): each.offset for each in found if each.offset >= 0}


class Admin:
    """A client that says nothing; as a context it turns the library's errors into ours."""

    def __init__(self, address: str, security: BrokerSecurity, timeout_s: float) -> None:
        self._address, self._security, self._timeout_s = address, security, timeout_s
        self._said: deque[KafkaError] = deque(maxlen=20)
        settings: dict[str, Any] = {
            "bootstrap.servers": address,
            "socket.timeout.ms": max(1000, round(timeout_s * 1000)),
            "error_cb": self._said.append,
            "logger": SILENT,
            **security.for_librdkafka(),
        }
        self.client = AdminClient(settings)

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, KafkaException):
            raise self._explain(error) from error

    def metadata(self) -> ClusterMetadata:
        """Return what the broker says about itself and its topics."""
        return self.client.list_topics(timeout=self._timeout_s)

    def _explain(self, error: KafkaException) -> PipelineError:
        # The reason of a timeout is told beside it
        self.client.poll(0)
        for said in self._said:
            if said.code() == KafkaError._AUTHENTICATION:
                return SettingsError(
                    f"the broker at {self._address} refuses the login of {self._security.username!r}; correct "
                    "broker.sasl_username and broker.sasl_password"
                )
            if said.code() == KafkaError._SSL:
                return SettingsError(
                    f"no TLS with the broker at {self._address}; correct broker.ca_file: {' '.join(said.str().split())}"
                )
        return BrokerUnavailable(
            f"the broker at {self._address} does not answer; start it or correct broker.address: {text(error)}"
        )


def _wait_for_logs(admin: Admin, names: Sequence[str], timeout_s: float) -> None:
    """Wait until the logs of new topics answer: later than the answer that they are made, and than their leaders are named."""
    ends = time.monotonic() + timeout_s
    while names and time.monotonic() < ends:
        found = admin.metadata().topics
        leaders = [found[name].partitions.values() if name in found else () for name in names]
        if all(each and all(partition.leader >= 0 for partition in each) for each in leaders):
            # A leader that is named may not know yet that it is one
            with contextlib.suppress(KafkaException):
                offsets(admin, _partitions_of(admin, names), LATEST)
                return
        time.sleep(0.05)


def _partitions_of(admin: Admin, names: Sequence[str]) -> list[SourcePartition]:
    found = admin.metadata().topics
    missing = [name for name in dict.fromkeys(names) if name not in found or found[name].error is not None]
    if missing:
        raise SettingsError(
            f"the broker has no topic {', '.join(missing)}; create it with `pipeline topics --create`, or correct "
            "broker.topics, broker.alert_topic and broker.topic_prefix"
        )
    return [
        SourcePartition(name, partition)
        for name in dict.fromkeys(names)
        for partition in sorted(found[name].partitions)
    ]


def offsets(admin: Admin, sources: Sequence[SourcePartition], which: OffsetSpec) -> dict[SourcePartition, int]:
    """Return the first or the next offset of each partition's log."""
    asked: Mapping[TopicPartition, OffsetSpec] = {TopicPartition(*source): which for source in sources}
    answers = admin.client.list_offsets(dict(asked)) if asked else {}
    return {SourcePartition(each.topic, each.partition): answer.result().offset for each, answer in answers.items()}


def _code(error: KafkaException) -> object:
    return error.args[0].code() if error.args and isinstance(error.args[0], KafkaError) else None

"""What makes a worker a member of its consumer group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.broker.security import BrokerSecurity


@dataclass(frozen=True, slots=True)
class GroupMember:
    """How this worker takes part in its consumer group.

    Parameters
    ----------
    address
        ``host:port`` of one or more brokers, separated by commas.
    group
        Consumer group.
    topics
        Source topics, by their full names.
    session_timeout_s, heartbeat_interval_s
        Silence after which the group gives the partitions away, and how often to speak, s.
    batch_records
        Most records of one fetch.
    instance_id
        Name for static membership; empty for dynamic membership.
    """

    address: str
    group: str
    topics: Sequence[str]
    security: BrokerSecurity
    session_timeout_s: float = 30.0
    heartbeat_interval_s: float = 3.0
    batch_records: int = 4000
    instance_id: str = ""

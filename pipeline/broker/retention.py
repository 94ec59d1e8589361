"""For how long a topic keeps what is written into it."""

from __future__ import annotations

from confluent_kafka import KafkaException
from confluent_kafka.admin._config import ConfigResource

from pipeline.broker.security import BrokerSecurity
from pipeline.broker.topics import ANSWER_S, Admin


def keeps_ms(address: str, security: BrokerSecurity, name: str, timeout_s: float = ANSWER_S) -> int | None:
    """Return for how long a topic keeps records by a time that their producer says, ms.

    ``None`` if that time decides nothing: the broker puts its own in its place, or keeps records whatever their age, or does
    not tell.
    """
    asked = ConfigResource(ConfigResource.Type.TOPIC, name)
    with Admin(address, security, timeout_s) as admin:
        try:
            found = admin.client.describe_configs([asked], request_timeout=timeout_s)[asked].result()
        except KafkaException:
            # A login need not have the right to ask
            return None
    kept, by, policy = (found.get(key) for key in ("retention.ms", "message.timestamp.type", "cleanup.policy"))
    if kept is None or int(kept.value) < 0 or (by is not None and by.value == "LogAppendTime"):
        return None
    return int(kept.value) if policy is None or "delete" in policy.value else None

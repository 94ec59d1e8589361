"""From settings to connections: the one place that knows which setting means what to a client."""

from __future__ import annotations

from pipeline.broker.member import GroupMember
from pipeline.broker.security import BrokerSecurity
from pipeline.settings import Settings
from pipeline.store.connect import SCHEMA, Connection, connect


def broker_security(settings: Settings) -> BrokerSecurity:
    """Return how connections to the broker are secured."""
    broker = settings.broker
    return BrokerSecurity(
        protocol=broker.security_protocol,
        sasl_mechanism=broker.sasl_mechanism,
        username=broker.sasl_username,
        password=broker.sasl_password.get_secret_value(),
        ca_file=broker.ca_file,
        certificate_file=broker.certificate_file,
        key_file=broker.key_file,
    )


def group_member(settings: Settings) -> GroupMember:
    """Return how a worker takes part in its consumer group."""
    broker = settings.broker
    return GroupMember(
        address=broker.address,
        group=settings.group,
        topics=settings.source_topics,
        security=broker_security(settings),
        session_timeout_s=broker.session_timeout_s,
        heartbeat_interval_s=broker.heartbeat_interval_s,
        batch_records=broker.batch_records,
        instance_id=broker.instance_id,
    )


def database(
    settings: Settings,
    application_name: str,
    *,
    autocommit: bool = True,
    schema: str = SCHEMA,
    waits_for_disk: bool = True,
) -> Connection:
    """Open a connection under the workers' login.

    Parameters
    ----------
    schema, waits_for_disk
        Where tables are looked for, and whether commits outlast a crash of the server once they are told; see
        :func:`pipeline.store.connect.connect`.

    Raises
    ------
    DatabaseUnavailable
        If the database does not answer.
    """
    postgres = settings.postgres
    return connect(
        postgres.dsn.get_secret_value(),
        autocommit=autocommit,
        application_name=application_name,
        connect_timeout_s=postgres.connect_timeout_s,
        lock_timeout_s=postgres.lock_timeout_s,
        schema=schema,
        waits_for_disk=waits_for_disk,
        setting="postgres.dsn",
    )

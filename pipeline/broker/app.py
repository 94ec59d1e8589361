"""The Faust app: group membership, assignment and flow control, with our transport under it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import faust
from yarl import URL

from pipeline.broker.credentials import for_faust
from pipeline.broker.fetching import FETCH_BYTES
from pipeline.broker.member import GroupMember
from pipeline.broker.ownership import Ownership
from pipeline.broker.transport import BatchTransport

_FOR_EVER_S = 30 * 24 * 3600.0
_EVENT_HUBS_IDLE_MS = 180_000
_METADATA_AGE_MS = 30_000


def create_app(member: GroupMember, ownership: Ownership) -> faust.App:
    """Return a Faust app that delivers record batches.

    State and progress live where the effects are stored, so the app has no tables, no changelog and no leader topic, and
    creates nothing on the broker.
    """
    credentials, ssl_context = for_faust(member.security)
    urls = [URL(f"kafka://{address.strip()}") for address in member.address.split(",")]
    app = faust.App(
        member.group,
        broker=urls,
        broker_credentials=credentials,
        ssl_context=ssl_context,
        broker_session_timeout=member.session_timeout_s,
        broker_heartbeat_interval=member.heartbeat_interval_s,
        # A member that is gone or hangs in the middle of a rebalance holds the others up no longer than a silent one does;
        # and a worker that is told to stop while it joins has to wait for the end of that
        broker_rebalance_timeout=member.session_timeout_s,
        broker_request_timeout=max(90.0, 3 * member.session_timeout_s),
        broker_max_poll_records=member.batch_records,
        # A worker that waits for its database must keep its place in the group
        broker_max_poll_interval=_FOR_EVER_S,
        # Azure cuts idle connections at 240 s
        consumer_connections_max_idle_ms=_EVENT_HUBS_IDLE_MS,
        # New partitions, and a topic that was away, are seen after so long
        consumer_metadata_max_age_ms=_METADATA_AGE_MS,
        consumer_max_fetch_size=FETCH_BYTES,
        # Positions come from leases; "none" would stop the worker before its first seek
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=member.instance_id or None,
        stream_buffer_maxsize=8,
        stream_wait_empty=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        store="memory://",
        # Faust wants a folder of its own; nothing is kept there
        datadir=tempfile.gettempdir(),
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    app.transport = BatchTransport(urls, app, ownership)
    return app


def batch_topic(app: faust.App, topics: Sequence[str]) -> Any:
    """Return the channel of all source topics; its events carry record batches, undecoded and unacknowledged."""
    return app.topic(*topics, value_serializer="raw", key_serializer="raw", acks=False)

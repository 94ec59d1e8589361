"""Commands on metadata from people: sent to the topic that workers read, and what became of them."""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline import connections
from pipeline.broker.complaints import MessageRefused
from pipeline.broker.publishing import Publisher
from pipeline.core.checks import shown
from pipeline.core.errors import PipelineError, SettingsError
from pipeline.core.plant import ENTITIES
from pipeline.delivery import HistoryMessage
from pipeline.settings import Settings
from pipeline.store.connect import Connection

_ASK_EVERY_S = 0.2

_OUTCOMES = """
SELECT command_id, status, reason, version FROM metadata_command
WHERE cluster = %s AND consumer_group = %s AND command_id = ANY(%s) AND reason <> 'it was applied before'
"""
_ENTITIES = """
SELECT id, version, changed_at, body FROM metadata_entity WHERE kind = %s AND NOT removed ORDER BY id COLLATE "C"
"""


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants of one entity.

    Parameters
    ----------
    place
        Line of the file that it comes from; 0: none.
    entity_id, action, expected_version, body
        As in the command.
    """

    place: int
    entity_id: str
    action: str
    expected_version: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order.

    Parameters
    ----------
    status
        ``applied``, ``rejected``, or ``sent`` if nobody waited for it, or in vain.
    """

    place: int
    entity_id: str
    command_id: str
    status: str
    reason: str = ""
    version: int | None = None


def entities(connection: Connection, kind: str) -> list[tuple[str, int, dt.datetime, dict[str, Any]]]:
    """Return what there is of a kind: id, version, when it was changed, and its fields."""
    return connection.execute(_ENTITIES, [kind]).fetchall()


def value_of(kind: str, name: str, text: str) -> Any:
    """Return the value of a field that was written as text; empty text takes the field away.

    Examples
    --------
    >>> value_of("sku", "ideal_cycle_s", "2.5"), value_of("sku", "name", "7"), value_of("machine", "line_id", "")
    (2.5, '7', None)
    """
    field = ENTITIES[kind].get(name)
    if text == "":
        return None
    if field is None or field.is_right(text):
        return text
    try:
        return json.loads(text)
    except ValueError:
        # The worker says what may stand there
        return text


def send(settings: Settings, kind: str, orders: Sequence[Order], wait_s: float) -> list[Outcome]:
    """Send orders as commands, and return what became of them.

    Parameters
    ----------
    wait_s
        How long to wait until workers have judged them, s; 0: not at all.

    Raises
    ------
    SettingsError
        If no worker would read them.
    BrokerUnavailable
        If the broker does not take them.
    """
    topic, broker = settings.command_topic, settings.broker
    if topic not in settings.source_topics:
        before = topic.removesuffix(broker.command_topic)
        raise SettingsError(
            f"broker.command_topic is {broker.command_topic}, which no worker reads: add it to broker.topics, or name one of"
            f" {', '.join(broker.topics)}" + (f"; {before} is put before every topic" if before else "")
        )
    ids = [uuid.uuid4().hex for _ in orders]
    messages = [_message(topic, kind, order, number) for order, number in zip(orders, ids, strict=True)]
    try:
        Publisher(settings.broker.address, connections.broker_security(settings)).publish(messages)
    except MessageRefused as error:
        raise PipelineError(f"the broker refuses a command: {error}; nothing was changed by it") from error
    outcomes = [Outcome(each.place, each.entity_id, number, "sent") for each, number in zip(orders, ids, strict=True)]
    return _waited(settings, outcomes, wait_s) if wait_s else outcomes


def _message(topic: str, kind: str, order: Order, command_id: str) -> HistoryMessage:
    said = {
        "type": "command",
        "command_id": command_id,
        "entity": kind,
        "id": order.entity_id,
        "action": order.action,
        "expected_version": order.expected_version,
        "body": dict(order.body),
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
    }
    try:
        return HistoryMessage(topic, order.entity_id, orjson.dumps(said), 0)
    except TypeError as error:
        raise SettingsError(
            f"{shown(order.entity_id)} cannot be sent: {error}; write plain text and numbers"
        ) from error


def _waited(settings: Settings, outcomes: list[Outcome], wait_s: float) -> list[Outcome]:
    """Return outcomes with what workers have said until a time has passed."""
    ends = time.monotonic() + wait_s
    said: dict[str, tuple[str, str, int]] = {}
    with connections.database(settings, "pipeline metadata") as connection:
        while len(said) < len(outcomes) and time.monotonic() < ends:
            open_ = [each.command_id for each in outcomes if each.command_id not in said]
            whose = [settings.site.cluster, settings.group]
            rows = connection.execute(_OUTCOMES, [*whose, open_]).fetchall()
            said |= {number: (status, reason, version) for number, status, reason, version in rows}
            if len(said) < len(outcomes):
                time.sleep(_ASK_EVERY_S)
    return [
        Outcome(each.place, each.entity_id, each.command_id, *said[each.command_id])
        if each.command_id in said
        else each
        for each in outcomes
    ]

"""What a record's headers and its own timestamp say: who sent it, when it came in, of which type it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.decoding import amqp
from pipeline.core.records import SourceRecord, are_stored
from pipeline.core.times import END_MS, parse_times

DEVICE_ID = "iothub-connection-device-id"
ENQUEUED_TIME = "iothub-enqueuedtime"
TYPE = "type"

UNREADABLE = ""
"""Stands for a device id or type that cannot be read; no machine has an empty name."""


class SourceProperties(NamedTuple):
    """Of each record of a batch.

    Parameters
    ----------
    ingest_ms
        The broker's time, ms since the epoch, UTC; outside ``[0, END_MS)`` where the record has no time worth the name.
    devices
        The device that sent it, ``None`` if nobody says so; the list is empty if no record has headers.
    types
        Its type, ``None`` if the headers name none; the list is empty if no record has headers.
    """

    ingest_ms: npt.NDArray[np.int64]
    devices: list[str | None]
    types: list[str | None]


def read_properties(records: Sequence[SourceRecord]) -> SourceProperties:
    """Return the properties of a batch's records.

    IoT Hub's enqueued time is preferred to the record's timestamp: it is when the message reached the cloud.
    """
    if are_stored(records):
        return SourceProperties(records.ingest_ms, [], records.said)
    ingest_ms = np.array([record.timestamp for record in records], np.int64)
    headers = [record.headers for record in records]
    if not any(headers):
        return SourceProperties(ingest_ms, [], [])
    devices: list[str | None] = [None] * len(records)
    types: list[str | None] = [None] * len(records)
    for i, named in enumerate(headers):
        for name, value in named or ():
            if name == DEVICE_ID:
                device = _text(value)
                devices[i] = device if devices[i] in {None, device} else UNREADABLE
            elif name == ENQUEUED_TIME:
                enqueued_ms = _instant(value)
                if enqueued_ms is not None:
                    ingest_ms[i] = enqueued_ms
            elif name == TYPE:
                types[i] = _text(value)
    return SourceProperties(ingest_ms, devices, types)


def _text(value: bytes | None) -> str:
    if value is None:
        return UNREADABLE
    try:
        return amqp.header_text(value)
    except ValueError:
        return UNREADABLE


def _instant(value: bytes | None) -> int | None:
    """Return an instant in ms, from an AMQP timestamp or number, a number as text or ISO 8601; ``None`` if it is none."""
    if not value:
        return None
    try:
        found = value.decode() if value[:1].isdigit() else amqp.decode(value)
        if isinstance(found, str):
            found = (
                int(found) if found.isascii() and found.isdigit() and len(found) <= 18 else int(parse_times([found])[0])
            )
    except ValueError:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < END_MS:
        return None
    return found

"""What is asked of every message whatever it tells: who sent it, when it was, and how long its names are."""

from __future__ import annotations

from pipeline.core.checks import Refused, shown
from pipeline.core.codec_rules import CodecRules
from pipeline.core.dead_letters import DeadLetterReason as Reason
from pipeline.core.source_properties import UNREADABLE
from pipeline.core.times import END_MS, MALFORMED_MS, NO_ZONE_MS


def refused_device(machine_id: str, device: str | None, rules: CodecRules) -> Refused | None:
    """Return why a device may not speak for a machine; ``None``: it may, or nobody says which device it was."""
    if device is None or device == machine_id or device in rules.gateways:
        return None
    who = "a device whose name cannot be read" if device == UNREADABLE else shown(device)
    detail = f"machine_id is {shown(machine_id)}, sent by {who}; register the device as a gateway"
    return Refused(Reason.DEVICE_MISMATCH, detail)


def refused_time(key: str, text: str, time_ms: int, ingest_ms: int, rules: CodecRules) -> Refused | None:
    """Return why a message cannot be of a time; ``None``: it can.

    Parameters
    ----------
    key, text
        What the sender calls the time, and what was sent.
    time_ms
        The same as :func:`pipeline.core.times.parse_times` has it.
    ingest_ms
        The broker's time, ms since the epoch, UTC.
    """
    sent = shown(text)
    if time_ms == NO_ZONE_MS:
        return Refused(Reason.TIME_WITHOUT_ZONE, f"{key} is {sent}; say its zone, Z or such as +01:00")
    if time_ms == MALFORMED_MS:
        return Refused(Reason.WRONG_SHAPE, f"{key} is {sent}; send ISO 8601, such as 2026-11-21T22:00:00.123Z")
    if not 0 <= time_ms < END_MS:
        return Refused(Reason.TIME_OUT_OF_RANGE, f"{key} is {sent}; set the clock: taken is 1970 to 2199")
    if not 0 <= ingest_ms < END_MS:
        detail = f"the record's own timestamp is {ingest_ms} ms; have the topic or the producer set it"
        return Refused(Reason.TIME_OUT_OF_RANGE, detail)
    if time_ms > ingest_ms + rules.max_future_ms:
        ahead = f"{(time_ms - ingest_ms) / 1000:.0f} s ahead of the broker's time"
        return Refused(Reason.TIME_IN_FUTURE, f"{key} is {sent}, {ahead}; set the device's clock")
    return None


def refused_name(key: str, text: str, rules: CodecRules) -> Refused | None:
    """Return why a name is not taken; ``None``: it is."""
    limit = rules.max_identifier_length
    if len(text) <= limit:
        return None
    detail = f"{key} has {len(text)} characters: {shown(text)}; at most {limit} are taken"
    return Refused(Reason.IDENTIFIER_TOO_LONG, detail)

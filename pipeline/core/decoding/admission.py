"""What is asked of every message whatever it tells: who sent it, when it was, and how long its names are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from pipeline.core.checks import Refused, shown
from pipeline.core.dead_letters import DeadLetterReason as Reason
from pipeline.core.decoding.codec_rules import CodecRules
from pipeline.core.decoding.source_properties import UNREADABLE
from pipeline.core.registry import Registry
from pipeline.core.times import END_MS, MALFORMED_MS, NO_ZONE_MS


def refused_device(machine_id: str, device: str | None, rules: CodecRules) -> Refused | None:
    """Return why a device may not speak for a machine; ``None``: it may, or nobody says which device it was."""
    if device is None or device == machine_id or device in rules.gateways:
        return None
    if rules.spokesmen.get(machine_id) == device:
        return None
    who = "a device whose name cannot be read" if device == UNREADABLE else shown(device)
    detail = f"machine_id is {shown(machine_id)}, sent by {who}; name the device as the machine's gateway"
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


def refused_sensors(names: Sequence[str], rules: CodecRules) -> Refused | None:
    """Return why a message's sensors are not taken; ``None``: they are."""
    if len(names) > rules.max_readings:
        return Refused(Reason.WRONG_SHAPE, f"readings has {len(names)} sensors; send at most {rules.max_readings}")
    if not names:
        return Refused(Reason.WRONG_SHAPE, "readings is empty; send at least one reading")
    if not all(names):
        return Refused(Reason.WRONG_SHAPE, "readings has a sensor without a name; name it")
    longest = max(names, key=len)
    if len(longest) <= rules.max_identifier_length:
        return None
    detail = f"sensor {shown(longest)} has {len(longest)} characters; at most {rules.max_identifier_length} are taken"
    return Refused(Reason.IDENTIFIER_TOO_LONG, detail)


class Senders(NamedTuple):
    """Whom the messages of a batch are from; machine and factory of each, shape (n,)."""

    machine_ids: Sequence[str]
    factory_ids: Sequence[str]


def refused_machines(
    senders: Senders,
    registry: Registry,
    is_known: Callable[[str], bool],
    *,
    quarantine: bool,
    others: Collection[int] = (),
) -> dict[int, Refused]:
    """Return which messages of a batch are not accepted because of the machine that they are from.

    Parameters
    ----------
    is_known
        Whether something of a machine was accepted before the batch.
    quarantine
        Whether machines that nobody knows are refused in factories that do not say so themselves.
    others
        Messages that are not accepted for other reasons: they make no machine known.

    Examples
    --------
    >>> refused_machines(Senders(["press-1"], ["aurora"]), Registry(), lambda _: False, quarantine=False)
    {}
    >>> refused_machines(Senders(["press-1"], ["aurora"]), Registry(), lambda _: False, quarantine=True)[0].reason
    <DeadLetterReason.UNKNOWN_DEVICE: 'unknown_device'>
    """
    wrong: dict[int, Refused] = {}
    if registry.disabled and not registry.disabled.isdisjoint(senders.machine_ids):
        disabled = (i for i, each in enumerate(senders.machine_ids) if registry.is_disabled(each))
        wrong = {i: _disabled(senders.machine_ids[i]) for i in disabled}
    if quarantine or any(registry.quarantining.values()):
        named = set(senders.machine_ids)
        unknown = {each for each in named if not is_known(each) and not registry.has_machine(each)}
        for i, (machine_id, factory_id) in enumerate(zip(*senders, strict=True) if unknown else ()):
            if machine_id in unknown and i not in wrong:
                if registry.quarantining.get(factory_id, quarantine):
                    wrong[i] = _unknown(machine_id, factory_id)
                elif i not in others:
                    # From here on it is known, as it is if the batch ends here
                    unknown.discard(machine_id)
    return wrong


def _unknown(machine_id: str, factory_id: str) -> Refused:
    detail = (
        f"factory {shown(factory_id)} does not know machine {shown(machine_id)}; add it with `pipeline machines add`"
    )
    return Refused(Reason.UNKNOWN_DEVICE, f"{detail}, then requeue the record")


def _disabled(machine_id: str) -> Refused:
    detail = f"machine {shown(machine_id)} is disabled; enable it with `pipeline machines change`"
    return Refused(Reason.DEVICE_DISABLED, f"{detail}, then requeue the record")

"""Messages of the MES and of maintenance: read in plain Python, since a machine sends few of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.core.checks import Refused, shown
from pipeline.core.dead_letters import DeadLetterReason as Reason
from pipeline.core.decoding.admission import refused_device, refused_name, refused_time
from pipeline.core.decoding.codec_rules import CodecRules
from pipeline.core.decoding.elements import Refusal
from pipeline.core.decoding.source_properties import SourceProperties
from pipeline.core.facts import Fact, MaintenanceRecord, QualityReport
from pipeline.core.fields import kind_of, present, text
from pipeline.core.maintenance.rules import CLASSES
from pipeline.core.records import SourceRecord
from pipeline.core.times import parse_times

MAX_COUNT = 10**12
"""Most pieces, and most seconds, of one period: products and sums of them fit into the database's numbers."""

LEAST_SECONDS = 1e-9
"""Least time that is not 0, s: less would be too small for the database to divide by."""

KINDS = ("planned", "unplanned", "failure")


@dataclass(frozen=True, slots=True)
class FactMessage:
    """A fact as it was sent, proven but for its times and for what all messages are checked for.

    Parameters
    ----------
    times
        Times as they were sent, by key; the last is the event time. No two of them may be the same, nor go back.
    names
        Names that may not be too long, by key.
    rest
        What else its fact has.
    """

    kind: type[Fact]
    machine_id: str
    factory_id: str
    times: Mapping[str, str]
    names: Mapping[str, str]
    rest: Mapping[str, Any]

    def fact(self, offset: int, index: int, times_ms: Mapping[str, int], ingest_ms: int, body: bytes) -> Fact:
        """Return the fact.

        Parameters
        ----------
        times_ms
            Of :attr:`times`, ms since the epoch, UTC.

        Raises
        ------
        Refused
            If its times go back.
        """
        *before, last = self.times
        rest = dict(self.rest)
        for key in before:
            if times_ms[key] >= times_ms[last]:
                detail = (
                    f"{last} is {shown(self.times[last])}, not after {key} {shown(self.times[key])}; send them in order"
                )
                raise Refused(Reason.WRONG_SHAPE, detail)
            rest["start_ms"] = times_ms[key]
        return self.kind(
            offset=offset,
            index=index,
            machine_id=self.machine_id,
            factory_id=self.factory_id,
            time_ms=times_ms[last],
            ingest_ms=ingest_ms,
            body=body,
            **rest,
        )


class Draft(NamedTuple):
    """A fact's message, the record of the batch that it is from, its place there, and its raw JSON."""

    record: int
    place: int
    message: FactMessage
    body: bytes


def accept(
    records: Sequence[SourceRecord],
    drafts: Sequence[Draft],
    properties: SourceProperties,
    rules: CodecRules,
    refusals: list[Refusal],
) -> list[Fact]:
    """Return the facts that pass what all messages have to pass; add the others to ``refusals``."""
    if not drafts:
        return []
    instants = iter(parse_times([text for draft in drafts for text in draft.message.times.values()]).tolist())
    facts: list[Fact] = []
    for draft in drafts:
        times_ms = {key: next(instants) for key in draft.message.times}
        device = properties.devices[draft.record] if properties.devices else None
        ingest_ms = int(properties.ingest_ms[draft.record])
        try:
            _admit(draft.message, times_ms, device, ingest_ms, rules)
            offset = records[draft.record].offset
            facts.append(draft.message.fact(offset, draft.place, times_ms, ingest_ms, draft.body))
        except Refused as refused:
            refusals.append(Refusal(draft.record, draft.place, refused.reason, refused.detail, draft.body))
    return facts


def _admit(
    message: FactMessage, times_ms: Mapping[str, int], device: str | None, ingest_ms: int, rules: CodecRules
) -> None:
    refused = refused_device(message.machine_id, device, rules)
    for key, sent in message.times.items():
        refused = refused or refused_time(key, sent, times_ms[key], ingest_ms, rules)
    for key, name in message.names.items():
        refused = refused or refused_name(key, name, rules)
    if refused is not None:
        raise refused


def read_quality(message: Mapping[str, Any]) -> FactMessage:
    """Return an MES's report; raises :class:`Refused`.

    Examples
    --------
    >>> read_quality({"factory_id": "aurora", "machine_id": "press-1", "sku": "A-1", "period_start": "x", "period_end": "y",
    ...               "good": -1})
    Traceback (most recent call last):
    pipeline.core.checks.Refused: good is -1; send a whole number from 0 to 1000000000000
    """
    ids = {key: text(message, key) for key in ("factory_id", "machine_id", "sku")}
    times = {key: text(message, key) for key in ("period_start", "period_end")}
    numbers: dict[str, Any] = {key: _count(message, key) for key in ("good", "snag", "reject")}
    numbers |= {key: _seconds(message, key) for key in ("planned_s", "run_s", "ideal_cycle_s")}
    rest = {"sku": ids["sku"]} | numbers
    return FactMessage(QualityReport, ids["machine_id"], ids["factory_id"], times, ids, rest)


def read_maintenance(message: Mapping[str, Any]) -> FactMessage:
    """Return a maintenance record; raises :class:`Refused`."""
    ids = {key: text(message, key) for key in ("factory_id", "machine_id", "component")}
    kind = text(message, "kind")
    if kind not in KINDS:
        raise Refused(Reason.WRONG_SHAPE, f"kind is {shown(kind)}; send planned, unplanned or failure")
    note = message.get("note", "")
    if not isinstance(note, str):
        raise Refused(Reason.WRONG_SHAPE, f"note is {kind_of(note)}; send text, or leave it out")
    rest = {"kind": kind, "component": ids["component"], "note": note, "requirement": _requirement(message)}
    times = {"time": text(message, "time")}
    return FactMessage(MaintenanceRecord, ids["machine_id"], ids["factory_id"], times, ids, rest)


def _requirement(message: Mapping[str, Any]) -> int:
    """Return the class of maintenance that a record names, -1 if it names none."""
    if "class" not in message:
        return -1
    found = message["class"]
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < CLASSES:
        raise Refused(
            Reason.WRONG_SHAPE,
            f"class is {shown(found)}; send a whole number from 0 to {CLASSES - 1}, or leave it out",
        )
    return found


def _count(message: Mapping[str, Any], key: str) -> int:
    found = present(message, key)
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise Refused(Reason.WRONG_SHAPE, f"{key} is {kind_of(found)}; send a whole number")
    if not isinstance(found, int) or not 0 <= found <= MAX_COUNT:
        reason = Reason.WRONG_SHAPE if not isinstance(found, int) or found < 0 else Reason.VALUE_OUT_OF_RANGE
        raise Refused(reason, f"{key} is {shown(found)}; send a whole number from 0 to {MAX_COUNT}")
    return found


def _seconds(message: Mapping[str, Any], key: str) -> float:
    found = present(message, key)
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise Refused(Reason.WRONG_SHAPE, f"{key} is {kind_of(found)}; send a number of seconds")
    if found < 0:
        raise Refused(Reason.WRONG_SHAPE, f"{key} is {shown(found)}; send seconds that are not negative")
    if found > MAX_COUNT or 0 < found < LEAST_SECONDS:
        detail = f"{key} is {shown(found)}; send 0, or seconds from {LEAST_SECONDS:g} to {MAX_COUNT:g}"
        raise Refused(Reason.VALUE_OUT_OF_RANGE, detail)
    # Of -0.0 only the sign is left, which no text of the database's would tell
    return float(found) + 0.0

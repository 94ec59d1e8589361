"""From raw records to columns: every record becomes accepted messages or dead letters, and nothing raises.

1. Headers are read (:mod:`pipeline.core.decoding.source_properties`), and arrays are taken apart
   (:mod:`pipeline.core.decoding.elements`).
2. Bodies are decoded by types that check while they decode; what those do not take is read in plain Python, which says why
   (:mod:`pipeline.core.decoding.messages`).
3. Names, times and devices are checked on the columns of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, compress, repeat
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from pipeline.core.checks import Refused
from pipeline.core.columns import Columns
from pipeline.core.dead_letters import DeadLetter
from pipeline.core.dead_letters import DeadLetterReason as Reason
from pipeline.core.decoding.admission import refused_device, refused_name, refused_sensors, refused_time
from pipeline.core.decoding.codec_rules import CodecRules
from pipeline.core.decoding.elements import Elements, Refusal, split
from pipeline.core.decoding.fact_messages import Draft, FactMessage, accept
from pipeline.core.decoding.messages import Telemetry, decode_exact, keys_of, read_message, read_stored
from pipeline.core.decoding.source_properties import read_properties
from pipeline.core.records import Shape, SourceRecord, are_stored, offsets_of
from pipeline.core.times import END_MS, parse_times

__all__ = ["CodecRules", "decode"]

_NOTHING_KNOWN: Mapping[Shape, int] = MappingProxyType({})


def decode(
    records: Sequence[SourceRecord],
    rules: CodecRules,
    skip: Mapping[int, tuple[Reason, str]],
    known: Mapping[Shape, int] = _NOTHING_KNOWN,
    refuse: Callable[[Columns, Collection[int]], Mapping[int, Refused]] | None = None,
) -> tuple[Columns, list[DeadLetter]]:
    """Return a batch's accepted messages and its dead letters; never raises, whatever the records hold.

    Parameters
    ----------
    records
        By rising offset. Each gives at least one message or one dead letter.
    skip
        Offsets that become dead letters unseen, with reason and detail.
    known
        Numbers of the shapes of messages that were accepted under these rules before: their names are not looked at again.
    refuse
        Says which messages are not accepted because of who sent them, given those that are not for other reasons. It is not
        asked about what was accepted before.

    Examples
    --------
    >>> from pipeline.core.records import Record
    >>> body = b'{"factory_id":"aurora","machine_id":"press-1","machine_type":"press","time":"2026-11-21T22:00:00Z",'
    >>> body += b'"readings":{"temperature":55.1,"pressure":7539}}'
    >>> columns, letters = decode([Record(0, 1_795_300_000_000, body), Record(1, 0, b"")], CodecRules(), {})
    >>> columns.sensors, columns.values.tolist(), columns.times_ms.tolist()
    ([('temperature', 'pressure')], [55.1, 7539.0], [1795298400000])
    >>> [(letter.offset, letter.detail) for letter in letters]
    [(1, 'the record has no body; send a message')]
    """
    properties = read_properties(records)
    elements, refusals = split(records, rules, skip)
    elements, messages, drafts = _read(records, elements, properties.types, rules, refusals)
    columns = _columns(records, elements, properties.ingest_ms, messages, known)
    columns.facts.extend(accept(records, drafts, properties, rules, refusals))
    wrong: dict[int, Refused] = {}
    _check_devices(columns, elements, properties.devices, rules, wrong)
    _check_times(columns, messages, rules, wrong)
    _check_names(columns, messages, rules, wrong)
    if refuse is not None and not are_stored(records):
        wrong = {**refuse(columns, wrong.keys()), **wrong}
    if wrong:
        for i, refused in wrong.items():
            place = int(elements.records[i]), int(elements.indexes[i])
            refusals.append(Refusal(*place, refused.reason, refused.detail, elements.bodies[i]))
        columns = _without(columns, list(wrong))
    return columns, _dead_letters(records, refusals)


def _read(
    records: Sequence[SourceRecord],
    elements: Elements,
    types: list[str | None],
    rules: CodecRules,
    refusals: list[Refusal],
) -> tuple[Elements, list[Telemetry], list[Draft]]:
    """Return the elements that are telemetry, their messages, and the facts'; add what is refused to ``refusals``."""
    bodies = elements.bodies
    if b"\\" in b"".join(bodies):
        bodies = [b"" if b"\\" in body else body for body in bodies]
    if not set(types) <= {None, "machine"}:
        foreign = [types[record] not in {None, "machine"} for record in elements.records.tolist()]
        bodies = [b"" if other else body for body, other in zip(bodies, foreign, strict=True)]
    found = decode_exact(bodies)
    messages = [message for message in found if message is not None]
    if len(messages) == len(found):
        return elements, messages, []
    drafts: list[Draft] = []
    read_plainly = read_stored if are_stored(records) else read_message
    for i, message in enumerate(found):
        if message is None:
            record, index, body = int(elements.records[i]), int(elements.indexes[i]), elements.bodies[i]
            try:
                read = read_plainly(body, types[record] if types else None, rules.max_depth)
            except Refused as refused:
                refusals.append(Refusal(record, index, refused.reason, refused.detail, body))
                continue
            if isinstance(read, FactMessage):
                drafts.append(Draft(record, index, read, body))
            else:
                found[i] = read
    kept = np.array([message is not None for message in found])
    elements = Elements(list(compress(elements.bodies, kept)), elements.records[kept], elements.indexes[kept])
    return elements, [message for message in found if message is not None], drafts


def _columns(
    records: Sequence[SourceRecord],
    elements: Elements,
    ingest_ms: npt.NDArray[np.int64],
    messages: Sequence[Telemetry],
    known: Mapping[Shape, int],
) -> Columns:
    readings = [message.readings for message in messages]
    counts = np.fromiter(map(len, readings), np.int64, len(readings))
    machine_ids = [message.machine_id for message in messages]
    factory_ids = [message.factory_id for message in messages]
    machine_types = [message.machine_type for message in messages]
    names: dict[tuple[str, ...], tuple[str, ...]] = {}
    sensors = [names.setdefault(some, some) for some in map(tuple, readings)]
    shapes = list(zip(machine_ids, factory_ids, machine_types, sensors, strict=True))
    return Columns(
        offsets=offsets_of(records)[elements.records],
        indexes=elements.indexes,
        times_ms=parse_times([message.time for message in messages]),
        ingest_ms=ingest_ms[elements.records],
        seqs=np.array([message.seq for message in messages], np.int64),
        machine_ids=machine_ids,
        factory_ids=factory_ids,
        machine_types=machine_types,
        sensors=sensors,
        shapes=shapes,
        numbers=np.fromiter(map(known.get, shapes, repeat(-1)), np.int32, len(shapes)),
        values=np.fromiter(chain.from_iterable(map(dict.values, readings)), np.float64, int(counts.sum())),
        ends=np.cumsum(counts),
        bodies=elements.bodies,
    )


def _check_devices(
    columns: Columns, elements: Elements, devices: list[str | None], rules: CodecRules, wrong: dict[int, Refused]
) -> None:
    if set(devices) <= {None}:
        return
    for i, record in enumerate(elements.records.tolist()):
        if (refused := refused_device(columns.machine_ids[i], devices[record], rules)) is not None:
            wrong[i] = refused


def _check_times(columns: Columns, messages: Sequence[Telemetry], rules: CodecRules, wrong: dict[int, Refused]) -> None:
    times, ingest = columns.times_ms, columns.ingest_ms
    outside = (times < 0) | (times >= END_MS) | (ingest < 0) | (ingest >= END_MS)
    for i in np.flatnonzero(outside | (times > ingest + rules.max_future_ms)).tolist():
        refused = refused_time(keys_of(messages[i]).time, messages[i].time, int(times[i]), int(ingest[i]), rules)
        if refused is not None:
            wrong.setdefault(i, refused)


def _check_names(
    columns: Columns,
    messages: Sequence[Telemetry],
    rules: CodecRules,
    wrong: dict[int, Refused],
) -> None:
    checked: dict[tuple[str, ...], Refused | None] = {}
    for i in np.flatnonzero(columns.numbers < 0).tolist():
        machine_id, factory_id, machine_type, names = columns.shapes[i]
        if names not in checked:
            checked[names] = refused_sensors(names, rules)
        if (refused := checked[names]) is not None:
            wrong.setdefault(i, refused)
        for key, text in zip(keys_of(messages[i]), (factory_id, machine_id, machine_type), strict=False):
            if (refused := refused_name(key, text, rules)) is not None:
                wrong.setdefault(i, refused)


def _without(columns: Columns, refused: Sequence[int]) -> Columns:
    kept = np.ones(len(columns.bodies), np.bool_)
    kept[refused] = False
    which = kept.tolist()
    counts = np.diff(columns.ends, prepend=0)
    return Columns(
        offsets=columns.offsets[kept],
        indexes=columns.indexes[kept],
        times_ms=columns.times_ms[kept],
        ingest_ms=columns.ingest_ms[kept],
        seqs=columns.seqs[kept],
        machine_ids=list(compress(columns.machine_ids, which)),
        factory_ids=list(compress(columns.factory_ids, which)),
        machine_types=list(compress(columns.machine_types, which)),
        sensors=list(compress(columns.sensors, which)),
        shapes=list(compress(columns.shapes, which)),
        numbers=columns.numbers[kept],
        values=columns.values[np.repeat(kept, counts)],
        ends=np.cumsum(counts[kept]),
        bodies=list(compress(columns.bodies, which)),
        facts=columns.facts,
    )


def _dead_letters(records: Sequence[SourceRecord], refusals: list[Refusal]) -> list[DeadLetter]:
    refusals.sort(key=lambda refusal: refusal[:2])
    return [
        DeadLetter(
            offset=records[record].offset,
            index=place,
            reason=reason,
            detail=detail,
            key=records[record].key,
            body=body,
            headers=records[record].headers,
            # A producer may write any number as timestamp; the database takes no such time
            record_ms=min(max(records[record].timestamp, 0), END_MS - 1),
        )
        for record, place, reason, detail, body in refusals
    ]

"""From records to the raw JSON of single messages: what is absent, too large or to be skipped, and arrays taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.core.checks import Refused, check_depth, read_json
from pipeline.core.dead_letters import DeadLetterReason as Reason
from pipeline.core.decoding.codec_rules import CodecRules
from pipeline.core.records import SourceRecord, StoredEvents, are_stored

_BRACE = ord("{")
_WHITESPACE = b" \t\r\n"
_split_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Elements(NamedTuple):
    """Raw JSON of single messages, in order; all of length n.

    Parameters
    ----------
    bodies
        One JSON value each, as far as anybody has looked.
    records
        Which record of the batch it is from.
    indexes
        Its place in an array record, else 0.
    """

    bodies: list[bytes]
    records: npt.NDArray[np.int64]
    indexes: npt.NDArray[np.int32]


class Refusal(NamedTuple):
    """A record of the batch that is not accepted, or one element of it; ``body`` is what of it is kept."""

    record: int
    place: int
    reason: Reason
    detail: str
    body: bytes | None


def split(
    records: Sequence[SourceRecord], rules: CodecRules, skip: Mapping[int, tuple[Reason, str]]
) -> tuple[Elements, list[Refusal]]:
    """Return the messages of a batch's records, and the records that have none.

    Parameters
    ----------
    skip
        Offsets to refuse unseen, with reason and detail.
    """
    if are_stored(records):
        return _stored(records, skip)
    bodies = [record.value or b"" for record in records]
    plain = not skip and all(bodies) and set(map(itemgetter(0), bodies)) <= {_BRACE}
    if plain and max(map(len, bodies), default=0) <= rules.max_body_bytes:
        return Elements(bodies, np.arange(len(bodies)), np.zeros(len(bodies), np.int32)), []
    return _split_each(records, rules, skip)


def _stored(events: StoredEvents, skip: Mapping[int, tuple[Reason, str]]) -> tuple[Elements, list[Refusal]]:
    """Return messages that were taken apart before, at the places they had."""
    if not skip:
        return Elements(events.bodies, np.arange(len(events)), events.places), []
    skipped = np.isin(events.offsets, list(skip))
    refusals = [
        Refusal(i, event.place, *skip[event.offset], event.value) for i, event in enumerate(events) if skipped[i]
    ]
    kept = np.flatnonzero(~skipped)
    return Elements([events.bodies[i] for i in kept], kept, events.places[kept]), refusals


def _split_each(
    records: Sequence[SourceRecord], rules: CodecRules, skip: Mapping[int, tuple[Reason, str]]
) -> tuple[Elements, list[Refusal]]:
    bodies: list[bytes] = []
    places: list[int] = []
    indexes: list[int] = []
    refusals: list[Refusal] = []
    for i, record in enumerate(records):
        body = record.value
        if record.offset in skip:
            refusals.append(Refusal(i, 0, *skip[record.offset], body))
            continue
        try:
            pieces = _pieces(body, rules)
        except Refused as refused:
            refusals.append(Refusal(i, 0, refused.reason, refused.detail, body))
            continue
        bodies += pieces
        places += [i] * len(pieces)
        indexes += range(len(pieces))
    return Elements(bodies, np.array(places, np.int64), np.array(indexes, np.int32)), refusals


def _pieces(body: bytes | None, rules: CodecRules) -> Sequence[bytes]:
    if not body:
        raise Refused(Reason.EMPTY, "the record has no body; send a message")
    if len(body) > rules.max_body_bytes:
        raise Refused(Reason.TOO_LARGE, f"the body has {len(body)} bytes; at most {rules.max_body_bytes} are taken")
    if body[0] == _BRACE or body.lstrip(_WHITESPACE)[:1] != b"[":
        return (body,)
    check_depth(body, rules.max_depth + 1)
    try:
        pieces = _split_array(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        read_json(body, rules.max_depth + 1)
        raise Refused(Reason.NOT_JSON, "the array cannot be taken apart; send JSON as RFC 8259 has it") from None
    if not pieces:
        raise Refused(Reason.WRONG_SHAPE, "the array is empty; send at least one message")
    if len(pieces) > rules.max_elements:
        raise Refused(Reason.WRONG_SHAPE, f"the array has {len(pieces)} messages; send at most {rules.max_elements}")
    return [bytes(piece) for piece in pieces]

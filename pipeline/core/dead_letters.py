"""Records that could not be accepted: why, and everything that is needed to look at them and send them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class DeadLetterReason(StrEnum):
    r"""Why a record, or one element of an array record, was not accepted.

    Attributes
    ----------
    EMPTY
        The record has no body (a tombstone) or a body of no bytes.
    TOO_LARGE
        The body has more bytes than ``CodecRules.max_body_bytes``.
    NOT_UTF8
        The bytes are not UTF-8.
    NOT_JSON
        Not JSON as RFC 8259 has it (NaN, Infinity and halves of surrogate pairs are not), or nested too deeply.
    NUL_CHARACTER
        A NUL byte or the escape ``\u0000``: PostgreSQL's texts cannot hold U+0000.
    WRONG_SHAPE
        JSON, but none of the accepted messages: a field is missing, of the wrong kind, empty, or there are too many readings.
    UNKNOWN_TYPE
        The message says a ``type`` that this version does not read.
    TIME_WITHOUT_ZONE
        The event time has no zone, so nobody can say when it was.
    TIME_OUT_OF_RANGE
        The event time is before 1970 or not before 2200.
    TIME_IN_FUTURE
        The event time is further ahead of the broker's time than ``CodecRules.max_future_ms``.
    VALUE_OUT_OF_RANGE
        A reading beyond ±1e140, whose square no float can sum, or any number that no float can hold.
    IDENTIFIER_TOO_LONG
        A machine, factory, machine type or sensor name of more than ``CodecRules.max_identifier_length`` characters.
    DEVICE_MISMATCH
        IoT Hub says that another device sent it, and that device is no registered gateway.
    UNKNOWN_DEVICE
        Nobody has added the machine, nothing of it was accepted before, and its factory quarantines such.
    DEVICE_DISABLED
        The machine was disabled by a command when the record was read.
    FOLD_FAILED
        The fold failed on this record for good; a control record says so.
    UNSTORABLE
        The database refused this record for good; a control record says so.
    """

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NUL_CHARACTER = "nul_character"
    WRONG_SHAPE = "wrong_shape"
    UNKNOWN_TYPE = "unknown_type"
    TIME_WITHOUT_ZONE = "time_without_zone"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    TIME_IN_FUTURE = "time_in_future"
    VALUE_OUT_OF_RANGE = "value_out_of_range"
    IDENTIFIER_TOO_LONG = "identifier_too_long"
    DEVICE_MISMATCH = "device_mismatch"
    UNKNOWN_DEVICE = "unknown_device"
    DEVICE_DISABLED = "device_disabled"
    FOLD_FAILED = "fold_failed"
    UNSTORABLE = "unstorable"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record, or one element of an array record, that was not accepted.

    Parameters
    ----------
    offset, index
        Source position, and place in an array record (0 otherwise, and where the whole record was refused).
    reason, detail
        Why, as a word and as one line for people.
    key, body, headers
        The record as it came; ``body`` is the element's own JSON where it could be told apart.
    record_ms
        The record's own timestamp, ms since the epoch, UTC.
    """

    offset: int
    index: int
    reason: DeadLetterReason
    detail: str
    key: bytes | None
    body: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    record_ms: int

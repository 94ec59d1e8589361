"""The laws of the codec: it never raises, loses nothing, answers alike in any batch, accepts what can be stored."""

import datetime as dt
import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.columns import Columns
from pipeline.core.dead_letters import DeadLetter, DeadLetterReason
from pipeline.core.decoding.codec import CodecRules, decode
from pipeline.core.decoding.messages import PUMP_SENSORS
from pipeline.core.facts import Fact, QualityReport
from pipeline.core.records import Record
from tests.core import raw_messages

NOW_MS = 1_795_298_400_000
RULES = CodecRules(gateways=frozenset({"edge"}))
COUNTS, SECONDS = ("good", "snag", "reject"), ("planned_s", "run_s", "ideal_cycle_s")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

names = st.sampled_from(["temperature", "pressure", "ü", "a b", "x" * 128, "x" * 129, ""]) | st.text(max_size=5)
numbers = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([1e140, -1e140, 1.1e140, 0.1, 7])
)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=5)
anything = st.recursive(
    scalars, lambda x: st.lists(x, max_size=4) | st.dictionaries(names, x, max_size=4), max_leaves=8
)
times = st.sampled_from(
    [
        "2026-11-21T22:00:00.123Z",
        "2026-11-21T22:00:00Z",
        "2026-11-21T22:59:00+01:00",
        "2026-11-21T22:00:00",
        "2026-11-21T23:30:00Z",
        "1969-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "x",
    ]
)
good_names = st.sampled_from(["temperature", "pressure", "ü", "a b", "x" * 128])
good_numbers = st.floats(-1e140, 1e140) | st.integers(-(2**63), 2**64)
good = st.fixed_dictionaries(
    {
        "factory_id": st.sampled_from(["aurora", "süd"]),
        "machine_id": st.sampled_from(["m0", "m1", "m\n2"]),
        "machine_type": st.just("press"),
        "time": st.sampled_from(["2026-11-21T22:00:00.123Z", "2026-11-21T22:59:00+01:00"]),
        "readings": st.dictionaries(good_names, good_numbers, min_size=1, max_size=4),
    },
    optional={"type": st.just("machine"), "seq": st.integers(0, 2**63 - 1)},
)
with_more = st.builds(lambda message, more: message | {"extra": more}, good, anything)
doubtful = st.fixed_dictionaries(
    {
        "factory_id": st.sampled_from(["aurora", "süd"]) | anything,
        "machine_id": st.sampled_from(["m0", "m1"]) | anything,
        "machine_type": st.just("press"),
        "time": times,
        "readings": st.dictionaries(names, numbers | anything, max_size=4) | anything,
    },
    optional={
        "type": st.sampled_from(["machine", "pump"]),
        "seq": st.integers(-1, 2**63) | anything,
        "extra": anything,
    },
)
lab = st.fixed_dictionaries(
    {
        "factoryId": st.integers(0, 9) | anything,
        "machine": st.fixed_dictionaries(
            {"machineId": st.integers(0, 9) | st.just("m0") | scalars, "temperature": numbers, "pressure": st.just(5)},
            optional={"electricityUtilization": st.just(7) | scalars, "note": anything},
        ),
        "timeCreated": times,
    },
    optional={"ambient": st.dictionaries(st.sampled_from(["temperature", "humidity"]), numbers), "type": scalars},
)


def raw(message: object) -> bytes:
    return json.dumps(message, ensure_ascii=len(repr(message)) % 2 == 0).encode(errors="surrogatepass")


facts = st.one_of(
    st.builds(
        lambda key, value: raw_messages.quality(**{key: value}), st.sampled_from(list(raw_messages.quality())), anything
    ),
    st.builds(
        lambda key, value: raw_messages.maintenance(**{key: value}),
        st.sampled_from(list(raw_messages.maintenance())),
        anything,
    ),
    st.builds(lambda start, end: raw_messages.quality(period_start=start, period_end=end), times, times),
    st.builds(
        lambda numbers: raw_messages.quality(**numbers), st.dictionaries(st.sampled_from(COUNTS + SECONDS), numbers)
    ),
)
pumps = st.builds(
    lambda sent, key, value: raw_messages.pump(time=sent, **{key: value}),
    times,
    st.sampled_from([key for key in raw_messages.pump() if key != "time"]),
    anything | st.just(...),
)
messages = st.one_of(good, with_more, doubtful, lab, facts, pumps).map(raw)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A message in which some bytes are changed, cut out or put in."""
    body = bytearray(draw(messages))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        end = at + draw(st.integers(0, 4))
        body[at:end] = draw(
            st.binary(max_size=3)
            | st.sampled_from(
                [b"\\u0000", b"\\ud800", b"\\\\u0000", b"\\", b'"', b"{", b"}", b"[", b",", b"1e400", b"-", b"\0"]
            )
        )
    return bytes(body)


bodies = st.one_of(
    messages,
    messages,
    mutated(),
    st.lists(messages | mutated(), max_size=4).map(lambda parts: b"[" + b",".join(parts) + b"]"),
    st.binary(max_size=40),
    anything.map(raw),
    st.none(),
)
header_values = st.one_of(
    st.none(),
    st.sampled_from(
        [b"m0", b"edge", b"machine", b"\xa1\x02m0", b"\xa1\x04pump", b"2026-11-21T22:00:00Z", b"1795298400000"]
    ),
    st.binary(max_size=12),
    st.binary(min_size=8, max_size=8).map(lambda x: b"\x83" + x),
)
headers = st.lists(
    st.tuples(st.sampled_from(["iothub-connection-device-id", "iothub-enqueuedtime", "type", "x"]), header_values),
    max_size=3,
)
timestamps = st.sampled_from([NOW_MS, NOW_MS, NOW_MS, 0, -1, 2**63 - 1, -(2**63)])


@st.composite
def batches(draw: st.DrawFn) -> list[Record]:
    offset, records = 0, []
    for body in draw(st.lists(bodies, max_size=8)):
        offset += draw(st.integers(1, 3))
        named = draw(st.just([]) | headers)
        records.append(Record(offset, draw(timestamps), body, draw(st.none() | st.binary(max_size=3)), named))
    return records


def rows_of(columns: Columns) -> list[tuple[Any, ...]]:
    """The columns row by row, each with its own readings."""
    values, ends = columns.values.tolist(), columns.ends.tolist()
    begins = [0, *ends][: len(ends)]
    return [
        (*row, values[begin:end])
        for *row, begin, end in zip(
            columns.offsets.tolist(),
            columns.indexes.tolist(),
            columns.times_ms.tolist(),
            columns.ingest_ms.tolist(),
            columns.seqs.tolist(),
            columns.machine_ids,
            columns.factory_ids,
            columns.machine_types,
            columns.sensors,
            columns.bodies,
            begins,
            ends,
            strict=True,
        )
    ]


def assert_accounted(records: list[Record], columns: Columns, letters: list[DeadLetter]) -> None:
    told = [(fact.offset, fact.index) for fact in columns.facts]
    assert told == sorted(set(told))
    rows = list(zip(columns.offsets.tolist(), columns.indexes.tolist(), strict=True))
    assert not set(rows) & set(told)
    rows = sorted(rows + told) if rows == sorted(rows) else rows
    refused = [(letter.offset, letter.index) for letter in letters]
    assert rows == sorted(set(rows))
    assert refused == sorted(set(refused))
    assert not set(rows) & set(refused)
    places = sorted(rows + refused)
    assert {offset for offset, _ in places} == {record.offset for record in records}
    for record in records:
        indexes = [index for offset, index in places if offset == record.offset]
        assert indexes == list(range(len(indexes)))
    assert len(columns.values) == (columns.ends[-1] if len(columns.ends) else 0)


@given(batches(), st.dictionaries(st.integers(1, 10), st.just((DeadLetterReason.UNSTORABLE, "no")), max_size=2))
def test_it_never_raises_and_every_record_is_accounted_for(
    records: list[Record], skip: dict[int, tuple[DeadLetterReason, str]]
) -> None:
    columns, letters = decode(records, RULES, skip)

    assert_accounted(records, columns, letters)
    assert {x.offset for x in letters} >= {record.offset for record in records if record.offset in skip}
    for letter in letters:
        assert letter.detail.isprintable()
        assert 0 < len(letter.detail) < 300


@given(batches())
def test_a_record_is_decoded_the_same_whatever_is_in_its_batch(records: list[Record]) -> None:
    columns, letters = decode(records, RULES, {})

    alone = [decode([record], RULES, {}) for record in records]

    assert rows_of(columns) == [row for one, _ in alone for row in rows_of(one)]
    assert columns.facts == [fact for one, _ in alone for fact in one.facts]
    assert letters == [letter for _, some in alone for letter in some]


@given(st.lists(good, min_size=1, max_size=5), st.sampled_from([{}, {"note": 1}, {"note": "\\"}]))
def test_typed_and_plain_reading_agree(found: list[dict[str, Any]], more: dict[str, Any]) -> None:
    """A field nobody reads, or an escape, sends a message through plain Python: the answer must not tell."""
    exact = [Record(i, NOW_MS, raw(message)) for i, message in enumerate(found)]
    other = [Record(i, NOW_MS, raw(message | more)) for i, message in enumerate(found)]

    first, first_letters = decode(exact, RULES, {})
    second, second_letters = decode(other, RULES, {})

    assert first_letters == second_letters == []
    assert [(*row[:9], row[10]) for row in rows_of(first)] == [(*row[:9], row[10]) for row in rows_of(second)]
    assert [row[10] for row in rows_of(first)] == [[float(x) for x in m["readings"].values()] for m in found]


def texts_of(found: object) -> list[str]:
    if isinstance(found, str):
        return [found]
    if isinstance(found, dict):
        return [text for key, value in found.items() for text in (key, *texts_of(value))]
    return [text for value in found for text in texts_of(value)] if isinstance(found, list) else []


def depth_of(found: object) -> int:
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def assert_can_be_stored(row: tuple[Any, ...]) -> None:
    """Every rule once more, from the definitions and with the standard library."""
    _, index, time_ms, ingest_ms, seq, machine_id, factory_id, machine_type, sensors, body, values = row
    message = json.loads(body.decode("utf-8", "strict"), parse_constant=refuse_constant, parse_int=float)
    assert isinstance(message, dict)
    assert depth_of(message) <= 64
    for text in (*texts_of(message), machine_id, factory_id, machine_type, *sensors):
        assert "\0" not in text
        assert not re.search("[\ud800-\udfff]", text)
    assert all(1 <= len(name) <= 128 for name in (machine_id, factory_id, *sensors))
    assert len(machine_type) <= 128
    assert 1 <= len(sensors) == len(values) <= 256
    assert all(abs(value) <= 1e140 for value in values)
    assert -1 <= seq < 2**63
    assert index >= 0
    assert 0 <= ingest_ms < 7_258_118_400_000
    assert 0 <= time_ms <= min(ingest_ms + 3_600_000, 7_258_118_399_999)
    sent = dt.datetime.fromisoformat(message.get("time", message.get("timeCreated")))
    assert (sent - EPOCH) // dt.timedelta(milliseconds=1) == time_ms
    assert message.get("type", "machine") in {"machine", "pump"}
    if "pump_id" in message and "readings" not in message:
        assert (message["pump_id"], message["factory_id"]) == (machine_id, factory_id)
        assert dict(zip(sensors, values, strict=True)) == {key: message[key] for key in PUMP_SENSORS if key in message}
    if "readings" in message:
        assert (message["machine_id"], message["factory_id"]) == (machine_id, factory_id)
        assert message["readings"] == dict(zip(sensors, values, strict=True))


def assert_is_sound(fact: Fact) -> None:
    """Every rule of a fact once more."""
    message = json.loads(fact.body.decode("utf-8", "strict"), parse_constant=refuse_constant)
    assert depth_of(message) <= 64
    for text in texts_of(message):
        assert "\0" not in text
        assert not re.search("[\ud800-\udfff]", text)
    names = ["machine_id", "factory_id", "sku" if isinstance(fact, QualityReport) else "component"]
    assert [getattr(fact, name) for name in names] == [message[name] for name in names]
    assert all(1 <= len(getattr(fact, name)) <= 128 for name in names)
    assert 0 <= fact.ingest_ms < 7_258_118_400_000
    assert 0 <= fact.time_ms <= min(fact.ingest_ms + 3_600_000, 7_258_118_399_999)
    if isinstance(fact, QualityReport):
        assert 0 <= fact.start_ms < fact.time_ms
        assert all(getattr(fact, name) == message[name] for name in (*COUNTS, *SECONDS))
        assert all(isinstance(getattr(fact, name), int) and 0 <= getattr(fact, name) <= 10**12 for name in COUNTS)
        assert all(0 <= getattr(fact, name) <= 1e12 for name in SECONDS)


def refuse_constant(name: str) -> None:
    msg = f"{name} was accepted"
    raise AssertionError(msg)


@given(batches())
def test_what_is_accepted_can_be_stored(records: list[Record]) -> None:
    columns, _ = decode(records, RULES, {})
    for row in rows_of(columns):
        assert_can_be_stored(row)
    for fact in columns.facts:
        assert_is_sound(fact)


@given(st.lists(messages, min_size=2, max_size=6), st.data())
def test_no_record_hides_in_another(parts: list[bytes], data: st.DataObject) -> None:
    """Messages cut anywhere and glued with commas: each record is judged by its own bytes alone."""
    glued = b",".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(glued)), max_size=6)))
    pieces = [glued[a:b] for a, b in zip([0, *cuts], [*cuts, len(glued)], strict=True)]
    records = [Record(i, NOW_MS, piece) for i, piece in enumerate(pieces)]

    columns, letters = decode(records, RULES, {})

    assert_accounted(records, columns, letters)
    for row in rows_of(columns):
        assert_can_be_stored(row)
        assert row[9] in (pieces[row[0]], *parts)

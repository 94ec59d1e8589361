"""What verify computes from arrays, against plain Python. R43, R15."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.banks import MEMORY
from pipeline.verifying import messages, windows
from pipeline.verifying.figures import Latencies, percentiles_by_machine
from pipeline.verifying.messages import Messages
from pipeline.verifying.places import Offsets
from pipeline.verifying.spill import MESSAGE, NO_LATENCY, VALUE, WINDOW, Spill

FEW = st.integers(0, 3)


def rows_of(told: list[tuple[int, int, int, int]]) -> np.ndarray:
    """Return messages of (machine, source, time in s, seq) in the order of their offsets, as :class:`Messages` are."""
    rows = np.zeros(len(told), MESSAGE)
    for n, (machine, source, time_s, seq) in enumerate(told):
        rows[n]["machine"], rows[n]["source"], rows[n]["offset"] = machine, source, n
        rows[n]["time_ms"], rows[n]["seq"], rows[n]["latency_us"] = time_s * 1000, seq, NO_LATENCY
    return rows[np.lexsort((rows["offset"], rows["source"], rows["machine"]))]


MESSAGES = st.lists(st.tuples(FEW, st.integers(0, 1), st.integers(0, 5), st.integers(-1, 4)), max_size=40)


@given(MESSAGES)
def test_a_message_went_back_if_an_earlier_one_of_its_machine_and_partition_is_later(told) -> None:
    rows = rows_of(told)
    latest: dict[tuple[int, int], int] = defaultdict(lambda: -1)
    expected = []
    for row in rows:
        key = (int(row["machine"]), int(row["source"]))
        expected.append(bool(row["time_ms"] < latest[key]))
        latest[key] = max(latest[key], int(row["time_ms"]))

    assert messages.went_back(rows["machine"], rows["source"], rows["time_ms"]).tolist() == expected


@given(st.lists(st.lists(st.sets(st.integers(0, 60), min_size=1), min_size=1, max_size=4), max_size=3), st.randoms())
def test_gaps_are_the_numbers_that_are_missing_within_each_run_of_a_device(runs, random) -> None:
    told, time_s = [], 0
    for machine, some in enumerate(runs):
        for numbers in some:
            run = {0, *numbers}  # a device restarts at 0
            for seq in sorted(run):
                time_s += 1
                told.append((machine, 0, time_s, seq))
    random.shuffle(told)

    found = messages.gaps(rows_of(told))

    missing = [
        (machine, seq)
        for machine, first, last in zip(*(column.tolist() for column in found), strict=True)
        for seq in range(first, last + 1)
    ]
    expected = [(m, n) for m, some in enumerate(runs) for run in some for n in set(range(max(run))) - {0, *run}]
    assert sorted(missing) == sorted(expected)


@pytest.mark.parametrize("largest", [2**63 - 1, 2**40])
def test_a_gap_may_be_as_large_as_numbers_are(largest: int) -> None:
    found = messages.gaps(rows_of([(0, 0, 0, 0), (0, 0, 1, largest)]))

    assert (found.first.tolist(), found.last.tolist()) == ([1], [largest - 1])


def test_a_sequence_that_falls_far_begins_anew_even_if_its_0_is_missing() -> None:
    found = messages.gaps(rows_of([(0, 0, 0, 1000), (0, 0, 1, 1001), (0, 0, 2, 5), (0, 0, 3, 7)]))

    assert (found.first.tolist(), found.last.tolist()) == ([6], [6])


@given(MESSAGES, st.data())
def test_duplicates_are_looked_for_as_a_memory_of_accepted_messages_would(told, data) -> None:
    rows = rows_of(told)
    n = len(rows)
    copies = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.int64)
    refused = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_) & (copies == 0)

    found = messages.duplicates(Messages(rows, copies, np.arange(n)), refused)

    before: dict[tuple[int, int], list[tuple[tuple[int, int], bool, bool]]] = defaultdict(list)
    for i, row in enumerate(rows):
        own, said = before[int(row["machine"]), int(row["source"])], (int(row["time_ms"]), int(row["seq"]))
        same = [(accepted, gone) for key, accepted, gone in own if key == said]
        has_seq = said[1] >= 0
        assert found.is_duplicate[i] == (has_seq and bool(same))
        if has_seq and same:
            assert found.accounted[i] == (not all(gone for _, gone in same))
        accepted = [key for key, is_kept, _ in own if is_kept]
        last = max((at for at, key in enumerate(accepted) if key == said), default=None) if has_seq else None
        assert found.since[i] == (-1 if last is None else len(accepted) - 1 - last)
        own.append((said, bool(copies[i] > 0 and has_seq), bool(refused[i])))


def test_the_memory_of_duplicates_is_counted_in_accepted_messages() -> None:
    told = [(0, 0, n, n) for n in range(MEMORY + 1)] + [(0, 0, 0, 0)]
    rows = rows_of(told)

    found = messages.duplicates(Messages(rows, np.ones(len(rows), np.int64), np.arange(len(rows))), rows["merged"])

    assert (found.is_duplicate[-1], found.since[-1]) == (True, MEMORY)


READING = st.floats(-1e140, 1e140, allow_nan=False)


@given(st.lists(st.tuples(FEW, st.integers(0, 200), st.dictionaries(FEW, READING, max_size=3)), max_size=30))
def test_windows_are_what_plain_python_makes_of_the_readings(told) -> None:
    rows = rows_of([(machine, 0, time_s, -1) for machine, time_s, _ in told])
    readings = [told[row["offset"]][2] for row in rows]
    counts = np.array([len(each) for each in readings], np.int64)
    values = np.array([value for each in readings for value in each.values()], np.float64)
    sensors = np.array([sensor for each in readings for sensor in each], np.int32)

    found = windows.recomputed(rows, rows["source"], 60_000, values, sensors, counts)

    expected: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for machine, time_s, each in sorted(told, key=lambda each: each[1]):
        for sensor, value in each.items():
            expected[machine, sensor, time_s // 60 * 60_000].append(value)
    assert {tuple(row)[:3] for row in found.tolist()} == set(expected)
    for row in found:
        some = expected[int(row["machine"]), int(row["sensor"]), int(row["start_ms"])]
        assert (row["count"], row["min"], row["max"], row["last"]) == (len(some), min(some), max(some), some[-1])
        scale = max(abs(statistics.fmean(some)), statistics.pstdev(some))
        assert math.isclose(row["mean"], statistics.fmean(some), rel_tol=0, abs_tol=1e-12 * scale)
        deviation = math.sqrt(row["m2"] / len(some))
        assert math.isclose(deviation, statistics.pstdev(some), rel_tol=1e-9, abs_tol=max(1e-12 * scale, 1e-150))
    assert len(windows.compared(found, found)) == 0


@given(st.lists(st.tuples(FEW, FEW, FEW), unique=True, max_size=20), st.data())
def test_of_compared_windows_those_that_differ_are_absent_or_too_many_are_wrong(keys, data) -> None:
    both = np.zeros(len(keys), WINDOW)
    for n, (machine, sensor, minute) in enumerate(keys):
        both[n] = (machine, sensor, minute * 60_000, 3, 5.0, 2.0, 4.0, 6.0, 5.5, 60_000)
    side = st.sampled_from(["both", "expected", "actual", "count", "mean", "m2", "min", "max", "last"])
    fates = data.draw(st.lists(side, min_size=len(keys), max_size=len(keys)))
    expected, actual = both[[f != "actual" for f in fates]], both.copy()
    for n, fate in enumerate(fates):
        if fate in both.dtype.names:
            actual[fate][n] = data.draw(st.sampled_from([7, 1e9] if fate == "count" else [7.5, math.nan, math.inf]))
    actual = actual[[f != "expected" for f in fates]]
    shuffled = np.array(data.draw(st.permutations(range(len(actual)))), np.int64)

    found = windows.compared(expected, actual[shuffled])

    wrong = {keys[n] for n, fate in enumerate(fates) if fate != "both"}
    assert {(m, s, start // 60_000) for m, s, start, *_ in found.tolist()} == wrong
    assert len(found) == len(wrong)


OFFSETS = st.sets(st.integers(0, 60))
GAPS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=3)


@given(OFFSETS, OFFSETS, GAPS, st.integers(0, 70), st.integers(1, 20))
def test_offsets_that_nothing_explains_are_counted_and_the_first_are_named(events, letters, gone, end, step) -> None:
    stretches = sorted([*((at, at + 1) for at in letters), *((begin, begin + many) for begin, many in gone)])
    offsets = Offsets(np.array(stretches, np.int64).reshape(-1, 2), end)
    for begin in range(0, 80, step):
        some = sorted(at for at in events if begin <= at < begin + step)
        if some:
            offsets.add(np.array(some, np.int64), begin + step)

    known = events | {at for begin, stop in stretches for at in range(begin, stop)}
    missing = sorted(set(range(min(known, default=end), end)) - known)
    assert offsets.finish() == len(missing)
    assert set(offsets.first) <= set(missing)
    assert bool(offsets.first) == bool(missing)


@given(st.lists(st.integers(-5, 10**13), min_size=1, max_size=200))
def test_percentiles_are_not_too_small_and_at_most_a_thousandth_too_large(latencies) -> None:
    every, ordered = Latencies(), sorted(latencies)
    for part in (latencies[:50], latencies[50:]):
        every.add(np.array(part, np.int64))

    found = every.percentiles_ms()
    by_machine = percentiles_by_machine(np.zeros(len(latencies), np.int32), np.array(latencies))[0]

    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)):
        exact = ordered[max(0, math.ceil(share * len(ordered)) - 1)] / 1000
        assert by_machine[name] == pytest.approx(exact, abs=0.0006)
        # What is below a microsecond counts as one
        assert exact - 0.0006 <= found[name] <= max(exact, 0.001) * 1.001 + 0.0006


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=30), st.integers(1, 10))
def test_spilt_rows_come_back_by_their_keys_in_the_order_they_were_given(tmp_path_factory, told, block) -> None:
    spill = Spill(tmp_path_factory.mktemp("spill") / "values", VALUE)
    expected: dict[int, list[float]] = defaultdict(list)
    value = 0.0
    for begin in range(0, len(told), block):
        part, values = told[begin : begin + block], []
        for key, many in part:
            mine = [value := value + 1 for _ in range(many)]
            values += mine
            expected[key] += mine
        spill.add(np.array([k for k, _ in part]), np.array(values, np.float64), np.array([m for _, m in part]))

    assert {key: spill.take(key).tolist() for key in expected} == expected
    assert spill.keys() == []
    assert spill.take(0).tolist() == []

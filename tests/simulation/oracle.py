"""What the tables should hold when everything is over, by rules in plain Python."""

from __future__ import annotations

import datetime as dt
import math
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from pipeline.core.controls import TICK
from pipeline.core.fold import Marks, project
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.core.registry import Registry
from pipeline.core.state import PartitionState
from pipeline.core.windowing.windows import BASE_MS
from tables.partition import OwnedPartition
from tests.core.plain import Plain
from tests.core.sinks import MemorySink, fragments_of, record
from tests.core.test_fold_laws import assert_same_cycles, assert_same_windows
from tests.simulation.broker import Broker, Log
from tests.simulation.database import Database, Tables, Violation
from tests.simulation.worker import RULES
from tests.simulation.workload import POISON, UNSTORABLE

BY_CONTROL = {POISON: "fold_failed", UNSTORABLE: "unstorable"}


def is_caught_up(broker: Broker, database: Database) -> bool:
    """Return whether all marks of every partition are at its log's last record; those of a lost log are there by chance."""
    tables = database.tables
    for source, log in broker.logs.items():
        placed = tables.placed.get(source, ())
        told = [each for each in placed if each.control.kind != TICK]
        if len(told) < len(database.controls) or tables.windows_controls.get(source, 0) < len(placed):
            return False
        row = tables.progress.get(source)
        if row is None or (row.effects, row.windows) != (log.reached, log.reached):
            return False
        last = log.records[-1] if log.records else None
        if last is not None and row.last_record == last.offset and row.checksum != zlib.crc32(last.value or b""):
            return False
    return True


def check(broker: Broker, database: Database, *, lossy: bool) -> None:
    """Compare the tables with what was sent.

    Parameters
    ----------
    lossy
        Whether logs lost records. What a state should be that missed some is not defined, so scores, late readings and
        repeated messages are compared only where nothing was lost.

    Raises
    ------
    Violation
        If something was lost, doubled or wrong.
    """
    tables = database.tables
    for source, (offset, _) in tables.snapshots.items():
        row = tables.progress[source]
        if offset > min(row.effects, row.windows):
            raise Violation(f"the snapshot of {source} at {offset} is ahead of {row}")
    if lossy:
        for source, log in broker.logs.items():
            _check_survivors(source, log, tables)
            _check_lost(source, log, tables, database.began[source])
        _check_bounds(broker, tables)
        _check_windows_count_events(tables)
    else:
        if tables.gaps:
            raise Violation(f"nothing was lost, and yet there are gaps: {tables.gaps}")
        _check_all(broker, tables)


def _gate(source: SourcePartition, tables: Tables, plain: Plain | None = None) -> Callable[[int, dict[str, Any]], bool]:
    """Return what says whether a record comes from a machine that is disabled; to be asked by rising offset.

    Parameters
    ----------
    plain
        Is told of ticks.
    """
    placed, registry = deque(tables.placed.get(source, ())), Registry()

    def is_shut(offset: int, message: dict[str, Any]) -> bool:
        while placed and placed[0].offset <= offset:
            control = placed.popleft().control
            registry.apply(control)
            if plain is not None and control.kind == TICK:
                plain.pass_time(control.body["at_ms"])
        return registry.is_disabled(message.get("machine", ""))

    return is_shut


def _is_dead(message: dict[str, Any]) -> bool:
    return message.get("machine", POISON) in BY_CONTROL


def _check_all(broker: Broker, tables: Tables) -> None:
    plains: dict[SourcePartition, Plain] = {}
    letters: dict[tuple[SourcePartition, int], str | None] = {}
    for source, log in broker.logs.items():
        plain = plains[source] = Plain(threshold=RULES.spikes.threshold, warm_up=RULES.spikes.warm_up)
        is_shut = _gate(source, tables, plain)
        for offset, message in sorted(log.messages.items()):
            if is_shut(offset, message):
                letters[source, offset] = "device_disabled"
            elif _is_dead(message):
                letters[source, offset] = BY_CONTROL.get(message.get("machine", ""))
            else:
                plain.take(offset, message)
    events = {(source, offset): machine for source, plain in plains.items() for offset, machine in plain.events}
    _compare("events", events, {(source, offset): row.machine for (source, offset, *_), row in tables.events.items()})
    stored = {(source, offset): reason for (source, offset, _), reason in tables.dead_letters.items()}
    _compare("dead letters", letters, {at: why if letters.get(at) is not None else None for at, why in stored.items()})
    _compare_anomalies(plains, tables)
    _compare_windows(plains, tables)
    for source, plain in plains.items():
        _compare_partition(source, broker.logs[source], plain, tables)
    duplicates: Counter[str] = Counter()
    for plain in plains.values():
        duplicates.update(plain.duplicates)
    counted = {machine: found for machine, (_, found, _) in tables.machines.items() if found}
    _compare("duplicates", dict(duplicates), counted)


def _compare(what: str, expected: dict[Any, Any], actual: dict[Any, Any]) -> None:
    if expected == actual:
        return
    missing = {key: value for key, value in expected.items() if actual.get(key, ...) != value}
    unexpected = {key: value for key, value in actual.items() if expected.get(key, ...) != value}
    raise Violation(f"{what}: expected and not there {missing}, there and not expected {unexpected}")


def _compare_anomalies(plains: dict[SourcePartition, Plain], tables: Tables) -> None:
    expected = {
        (source, offset, sensor, kind): (mean, score)
        for source, plain in plains.items()
        for offset, sensor, kind, mean, score in plain.anomalies
    }
    actual = {
        (source, offset, sensor, kind): (mean, score)
        for (source, offset, _, sensor, kind), (_, mean, score) in tables.anomalies.items()
    }
    _compare("anomalies", dict.fromkeys(expected), dict.fromkeys(actual))
    for key, numbers in expected.items():
        if not all(map(math.isclose, numbers, actual[key])):
            raise Violation(f"anomaly {key}: expected {numbers}, there {actual[key]}")


def _compare_windows(plains: dict[SourcePartition, Plain], tables: Tables) -> None:
    together, sink = Plain(), MemorySink()
    for plain in plains.values():
        for key, readings in plain.windows.items():
            together.windows.setdefault(key, []).extend(readings)
    sink.windows = tables.windows
    expected, actual = together.window_rows(), sink.window_rows()
    counts = [{key: (row["count"], row["late"]) for key, row in rows.items()} for rows in (expected, actual)]
    _compare("windows", *counts)
    try:
        assert_same_windows(expected, actual)
    except AssertionError as error:
        raise Violation(f"windows: {error}") from error


def _compare_partition(source: SourcePartition, log: Log, plain: Plain, tables: Tables) -> None:
    """Compare windows of factories, and what was closed of cycles, with one fold of the whole log."""
    is_shut = _gate(source, tables)
    sound = [
        record(offset, message)
        for offset, message in sorted(log.messages.items())
        if not is_shut(offset, message) and not _is_dead(message)
    ]
    placed, once, sink = deque(tables.placed.get(source, ())), MemorySink(), MemorySink()
    partition = OwnedPartition(source, "", PartitionState(), 0, Marks(), 0, 0, recorded=placed)
    partition.fold(RecordBatch(source, "", 0, log.reached, sound), RULES)
    once.fragments = fragments_of(project(partition.state, 0, log.reached, RULES).cycles)
    sink.fragments = [tuple(each) for at, *each in tables.fragments if at == source]
    sink.factories = {(*key,): row for (at, *key), row in tables.factories.items() if at == source}
    try:
        assert_same_cycles(once.cycle_rows(), sink.cycle_rows())
        assert_same_windows(plain.factory_rows(), sink.factory_rows())
    except AssertionError as error:
        raise Violation(f"cycles and factories of {source}: {error}") from error


def _check_survivors(source: SourcePartition, log: Log, tables: Tables) -> None:
    is_shut = _gate(source, tables)
    for each in log.records:
        stored = (source, each.offset, 0, each.value) in tables.events
        letter = tables.dead_letters.get((source, each.offset, 0))
        if not stored and letter is None:
            raise Violation(f"{source} offset {each.offset} is in the log and in no table")
        message = log.messages[each.offset]
        if not _was_set_aside(source, each.offset, tables) and stored == (
            is_shut(each.offset, message) or _is_dead(message)
        ):
            raise Violation(f"{source} offset {each.offset} is stored: {stored}, dead letter: {letter}")


def _check_lost(source: SourcePartition, log: Log, tables: Tables, began: int) -> None:
    """What retention took has to be stored, or inside a gap that says so."""
    stored = {offset for (at, offset, *_) in tables.events if at == source}
    stored |= {offset for (at, offset, _) in tables.dead_letters if at == source}
    for offset in log.messages:
        if began <= offset < log.start and offset not in stored:
            gaps = [gap for at, gap in tables.gaps if at == source]
            if not any(gap.first <= offset < gap.end for gap in gaps):
                raise Violation(f"{source} offset {offset} was lost in silence; gaps: {gaps}")


def _was_set_aside(source: SourcePartition, offset: int, tables: Tables) -> bool:
    """Return whether an offset was set aside before anything was stored.

    Nothing tells the log in which that was from one that was recreated right after, whose record is another one.
    """
    letter = tables.dead_letters.get((source, offset, 0))
    return letter in BY_CONTROL.values() and source not in tables.log_since


def _accepted(source: SourcePartition, log: Log, tables: Tables) -> Iterator[dict[str, Any]]:
    is_shut = _gate(source, tables)
    for each in log.records:
        shut = is_shut(each.offset, log.messages[each.offset])
        if not shut and not _was_set_aside(source, each.offset, tables):
            yield log.messages[each.offset]


def _readings(messages: Iterator[dict[str, Any]]) -> Counter[tuple[str, str, int]]:
    return Counter(
        (message["machine"], sensor, message["time_ms"] // BASE_MS * BASE_MS)
        for message in messages
        if not _is_dead(message)
        for sensor in message["readings"]
    )


def _check_bounds(broker: Broker, tables: Tables) -> None:
    """No window counts less than what the logs still have, or more than what was ever sent."""
    least = _readings(message for source, log in broker.logs.items() for message in _accepted(source, log, tables))
    every = [*broker.logs.values(), *(log for former in broker.former.values() for log in former)]
    most = _readings(message for log in every for message in log.messages.values())
    counted = {key: row["count"] for key, row in tables.windows.items()}
    for key in least | most:
        if not least[key] <= counted.get(key, 0) <= most[key]:
            raise Violation(f"window {key} counts {counted.get(key, 0)}, sent {most[key]}, surviving {least[key]}")


def _check_windows_count_events(tables: Tables) -> None:
    """Whatever was lost: each window counts each stored event once, also those of a log that is gone."""
    stored: Counter[tuple[str, str, int]] = Counter()
    for _, _, _, body in tables.events:
        message = orjson.loads(body)
        start_ms = int(dt.datetime.fromisoformat(message["time"]).timestamp() * 1000) // BASE_MS * BASE_MS
        stored.update((message["machine_id"], sensor, start_ms) for sensor in message["readings"])
    _compare("readings counted", dict(stored), {key: row["count"] for key, row in tables.windows.items()})

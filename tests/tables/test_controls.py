"""Control records are applied at one recorded place (R9, R35, R40, R45): whatever happens, the tables are those of one fold."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from agents.controls import ControlPoll
from pipeline.core.arrays import to_plain
from pipeline.core.controls import FIRST_INDEX, MAINTAINED, METADATA, TICK, Control, PlacedControl, Polled
from pipeline.core.decoding.metadata import MetadataChange
from pipeline.core.effects import Projections, UnitOfWork
from pipeline.core.errors import DatabaseUnavailable, NotReproducible
from pipeline.core.facts import TELEMETRY_INGEST
from pipeline.core.marks import Evidence, LogRange
from pipeline.core.records import Record, RecordBatch, SourcePartition, StoredEvent, StoredEvents
from pipeline.store.takeover import Acquired
from tables import snapshots
from tables.loading import load
from tables.partition import OwnedPartition
from tables.partitions import NEVER, Partitions
from tests.core.raw_messages import command
from tests.core.sinks import SOURCE, MemorySink, record
from tests.core.test_fold_laws import BASE_MS, RULES, assert_same, streams
from tests.tables.test_partitions import nothing_placed

LOG = Evidence(None, LogRange(0, 1000))


def mixed(both: tuple[list[dict], list[tuple[int, dict]]]) -> list[dict]:
    """Return a stream with commands put in at some places."""
    messages, commands_ = both
    for at, each in commands_:
        messages.insert(at, each)
    return messages


bodies = st.one_of(
    st.fixed_dictionaries(
        {"factory_id": st.just("aurora"), "status": st.sampled_from(["enabled", "disabled"])},
        optional={"line_id": st.sampled_from(["one", "two"])},
    ).map(lambda body: ("machine", body)),
    st.sampled_from(["accept", "quarantine"]).map(
        lambda policy: ("factory", {"name": "A", "time_zone": "UTC", "policy": policy})
    ),
)
commands = st.builds(
    lambda machine, said, action, expected, number: {
        "fact": command(
            entity=said[0],
            id=machine if said[0] == "machine" else "aurora",
            action=action,
            expected_version=expected,
            command_id=f"c{number}",
            body=said[1],
        ),
        "ingest_ms": BASE_MS + 400_000,
    },
    st.sampled_from(["m0", "m1", "m2"]),
    bodies,
    st.sampled_from(["add", "change", "remove"]),
    st.integers(0, 3),
    st.integers(0, 30),
)
streams_with_commands = st.tuples(streams, st.lists(st.tuples(st.integers(0, 60), commands), max_size=12)).map(mixed)
machines = st.tuples(st.sampled_from(["m0", "m1", "m2"]), st.sampled_from(["enabled", "disabled"]))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("fold"), st.integers(1, 12)),
        st.tuples(st.just("tell"), machines),
        st.tuples(st.just("store"), st.integers(1, 20)),
        st.tuples(st.just("tick"), st.integers(0, 900)),
        st.tuples(st.sampled_from(["merge", "merge", "snapshot", "crash", "rebuild"]), st.none()),
    ),
    max_size=40,
)
maintenance = st.tuples(st.just("maintain"), st.tuples(st.sampled_from(["m0", "m1", "m2"]), st.integers(0, 400)))
to_a_snapshot = [("merge", None), ("snapshot", None)]
eventful = st.lists(
    st.one_of(
        st.tuples(st.just("fold"), st.integers(1, 12)).map(lambda step: [step]),
        st.one_of(maintenance, st.tuples(st.just("tell"), machines)).map(lambda step: [step, *to_a_snapshot]),
        maintenance.map(lambda step: [step]),
        st.tuples(st.just("tick"), st.integers(0, 900)).map(lambda step: [step]),
        st.just([("merge", None)]),
        st.just([("crash", None)]),
    ),
    max_size=30,
).map(lambda parts: [step for part in parts for step in part])


def control(number: int, machine: str, status: str, version: int | None = None) -> Control:
    said = {"entity": "machine", "id": machine, "version": version or number, "removed": False, "changed_ms": 0}
    return Control(number, METADATA, said | {"body": {"status": status}, "command_id": f"c{number}"}, number)


class Sink(MemorySink):
    """A sink that stores units, and knows what a new owner is to know."""

    def __init__(self) -> None:
        super().__init__()
        self.placed: tuple[PlacedControl, ...] = ()
        self.controls_mark = self.windows_controls = 0
        self.snapshot: tuple[int, bytes] | None = None
        self.controls: list[Control] = []
        self.lines: dict[str, str] = {}
        self.read_from = 0

    def merge(self, due: Projections) -> None:
        super().merge(due)
        self.windows_controls = due.controls
        self.lines |= {each.machine_id: each.line_id for each in due.machines if each.messages}

    def write(self, body: dict, kind: str = METADATA) -> None:
        number = len(self.controls) + 1
        self.controls.append(Control(number, kind, body, number))

    def commit(self, unit: UnitOfWork | None, partition: OwnedPartition) -> None:
        if unit is None:
            return
        assert (unit.expected, unit.controls) == (self.marks.effects, self.controls_mark)
        self.controls_mark = unit.controls_next
        for effects in unit.effects:
            self.store(effects)
            self.placed += tuple(each for each in effects.controls if each not in self.placed)
            for fact in effects.facts:
                if isinstance(fact, MetadataChange):
                    self.write(fact.control())
        if unit.projections is not None:
            self.merge(unit.projections)
        partition.stored(unit)

    def acquired(self) -> Acquired:
        known = {each.control.id for each in self.placed}
        waiting = tuple(each for each in self.controls if each.id not in known)
        marks = self.marks.effects, self.marks.windows
        counts = self.controls_mark, self.windows_controls
        # A transaction that takes long is still open
        horizon = len(self.controls) // 2 + 1
        heard = frozenset(number for number in known if number >= horizon)
        return Acquired("new", "old", *marks, self.snapshot, {}, None, False, *counts, waiting, horizon, heard)

    def read(self, source: SourcePartition, first: int) -> tuple[PlacedControl, ...]:
        self.read_from = first
        return tuple(each for each in self.placed if each.ordinal >= first)


def batch(records: list[Record], first: int, end: int) -> RecordBatch:
    return RecordBatch(SOURCE, "new", first, end, records[first:end])


def nothing_stored(source: SourcePartition, first: int, end: int) -> list[StoredEvents]:
    return []


def once(records: list[Record], placed: tuple[PlacedControl, ...]) -> Sink:
    """Return what one clean fold gives with control records where they were applied."""
    sink = Sink()
    sink.placed = placed
    partition = load(SOURCE, sink.acquired(), 0, RULES, nothing_stored, lambda: True, sink.read)
    partition.fold(batch(records, 0, len(records)), RULES)
    sink.commit(partition.take_all(RULES), partition)
    assert partition.is_stored
    return sink


class Story:
    """One partition's owners, one after the other."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.sink = Sink()
        self.load(0)

    def load(self, begins: int) -> None:
        taken = self.sink.acquired()
        self.partition = load(SOURCE, taken, begins, RULES, self.events, lambda: True, self.sink.read)

    def events(self, source: SourcePartition, first: int, end: int) -> Iterator[StoredEvents]:
        events = [(*at, body, TELEMETRY_INGEST) for at, (_, body) in self.sink.events.items()]
        events += [(*at, fact.body, fact.event_type) for at, fact in self.sink.facts.items()]
        for offset, place, body, kind in sorted(events):
            if first <= offset < end:
                yield StoredEvents.of([StoredEvent(offset, place, self.records[offset].timestamp, body, kind)])

    def do(self, what: str, how: object) -> None:
        partition, sink = self.partition, self.sink
        if what == "fold":
            end = min(partition.position + how, len(self.records))
            partition.fold(batch(self.records, partition.position, end), RULES)
        elif what == "tell":
            number = len(sink.controls) + 1
            sink.write(dict(control(number, *how, version=100 + number).body))
            # Half of them are heard of at once, the others by the next owner
            if number % 2:
                partition.tell(sink.controls)
        elif what == "maintain":
            sink.write({"machine_id": how[0], "time_ms": BASE_MS + how[1] * 1000}, MAINTAINED)
            partition.tell(sink.controls)
        elif what == "tick":
            partition.tick(BASE_MS + how * 1000, RULES)
        elif what == "store":
            sink.commit(partition.take(how), partition)
        elif what == "merge":
            sink.commit(partition.take_all(RULES), partition)
        elif what == "snapshot":
            if partition.is_stored:
                sink.snapshot = partition.position, snapshots.encode(partition.state.to_arrays())[0]
        elif what == "crash":
            self.load(0)
        else:
            sink.snapshot = None
            self.load(sink.marks.effects)

    def end(self) -> None:
        self.partition.tell(self.sink.controls)
        self.partition.fold(batch(self.records, self.partition.position, len(self.records)), RULES)
        self.sink.commit(self.partition.take_all(RULES), self.partition)
        self.partition.tell(self.sink.controls)
        self.sink.commit(self.partition.take_all(RULES), self.partition)


@given(streams_with_commands, steps)
def test_laws_2_3_9_any_cuts_crashes_and_arrivals_give_the_tables_of_one_fold(
    messages: list[dict], story: list
) -> None:
    """Batches, stores, merges, snapshots and owners that vanish come in any order; so do control records."""
    # What a device sent twice is not counted again where the state was rebuilt from what is stored
    told = Story(
        [record(n, message | {"seq": -1} if "seq" in message else message) for n, message in enumerate(messages)]
    )
    for what, how in story:
        told.do(what, how)
    told.end()

    controls, placed = told.sink.controls, told.sink.placed
    assert [each.ordinal for each in placed] == list(range(len(placed)))
    assert {each.control.id for each in placed if each.control.kind != TICK} == {each.id for each in controls}
    assert told.partition.is_stored
    expected = once(told.records, placed)
    assert_same(expected, told.sink)
    assert told.sink.lines == expected.lines


@given(streams_with_commands, eventful)
def test_a_take_over_that_reads_what_its_snapshot_lacks_is_one_that_reads_every_control_record(
    messages: list[dict], steps_: list
) -> None:
    told = Story([record(n, message) for n, message in enumerate(messages)])
    for what, how in steps_:
        told.do(what, how)

    lean, whole = (went_on(told, snapshot) for snapshot in (told.sink.snapshot, None))

    assert_same(whole.sink, lean.sink)
    assert lean.sink.placed == whole.sink.placed
    assert said_to(lean.partition) == said_to(whole.partition)


def said_to(partition: OwnedPartition) -> str:
    """Return what a partition holds of control records."""
    arrays = to_plain(partition.state.to_arrays())
    return repr([arrays[name] for name in ("registry", "lives", "wears", "stretches", "renewals", "foretold")])


def went_on(told: Story, snapshot: tuple[int, bytes] | None) -> Story:
    """Return how a story ends with an owner that has this snapshot, and hears of every control record once more."""
    end = copy.copy(told)
    end.sink = copy.deepcopy(told.sink)
    end.sink.snapshot = snapshot
    end.load(0)
    held = 0 if snapshot is None else snapshots.decode(snapshot[1]).registry.applied
    assert end.sink.read_from == held
    # Both hear of what waits at the mark
    end.do("fold", end.sink.marks.effects - end.partition.position)
    end.end()
    return end


def test_a_state_that_knows_more_control_records_than_the_database_is_not_gone_on_with() -> None:
    story = Story([message("m0", n) for n in range(6)])
    for what, how in [("fold", 2), ("merge", None)]:
        story.do(what, how)
    restored = copy.deepcopy(story.sink)
    for what, how in [("tell", ("m0", "disabled")), ("merge", None), ("snapshot", None)]:
        story.do(what, how)
    restored.snapshot = story.sink.snapshot

    story.sink = restored
    story.load(0)

    assert (story.partition.position, story.partition.state.registry.applied) == (0, 0)


def test_what_a_partition_applied_is_not_gone_on_without() -> None:
    story = Story([message("m0", n) for n in range(6)])
    for what, how in [("tell", ("m0", "disabled")), ("fold", 2), ("tell", ("m1", "disabled")), ("end", None)]:
        story.end() if what == "end" else story.do(what, how)
    first, _ = story.sink.placed

    for left in ((), (first,), story.sink.placed[1:]):
        story.sink.placed = left
        with pytest.raises(NotReproducible, match="applied 2 control records"):
            story.load(0)


def test_of_what_is_told_again_only_that_is_applied_which_came_since_the_take_over() -> None:
    story = Story([message("m0", n) for n in range(6)])
    for number, what in enumerate(["tell", "tell", "tell", "merge", "crash"]):
        story.do(what, (f"m{number}", "disabled"))
    assert (story.partition.horizon, story.partition.known) == (2, {2, 3})

    story.sink.write(said_of("m0"))
    story.partition.tell(story.sink.controls)
    story.do("store", 100)

    assert [each.control.id for each in story.sink.placed] == [1, 2, 3, 4]


def message(machine: str, n: int) -> Record:
    at_ms = BASE_MS + n * 1000
    return record(n, {"machine": machine, "time_ms": at_ms, "seq": n, "ingest_ms": at_ms, "readings": {"t": 1.0}})


def test_records_of_a_disabled_machine_are_dead_letters_from_where_the_control_record_was_applied() -> None:
    story = Story([message("m0", n) for n in range(6)])

    for what, how in [("fold", 2), ("tell", ("m0", "disabled")), ("fold", 2)]:
        story.do(what, how)
    story.sink.controls.append(control(2, "m0", "enabled", version=200))
    story.end()

    assert sorted(story.sink.events) == [(0, 0), (1, 0), (4, 0), (5, 0)]
    assert story.sink.dead_letters == {(2, 0): "device_disabled", (3, 0): "device_disabled"}
    assert [(each.offset, each.ordinal) for each in story.sink.placed] == [(2, 0), (4, 1)]


def test_while_records_are_folded_again_nothing_new_is_applied() -> None:
    story = Story([message("m0", n) for n in range(6)])
    story.do("fold", 4)
    story.do("store", 100)
    story.sink.controls.append(control(1, "m0", "disabled"))

    story.load(0)
    story.do("fold", 2)
    assert story.partition.take(100) is None
    story.do("fold", 2)
    story.end()

    assert [each.offset for each in story.sink.placed] == [4]
    assert_same(once(story.records, story.sink.placed), story.sink)


def test_a_lower_version_changes_nothing_whenever_it_comes() -> None:
    story = Story([message("m0", n) for n in range(2)])

    story.partition.tell([control(7, "m0", "disabled", version=3), control(8, "m0", "enabled", version=2)])
    story.end()

    assert story.sink.events == {}
    assert len(story.sink.placed) == 2


def test_a_silent_partition_stores_what_it_applied() -> None:
    story = Story([])
    story.partition.tell([control(1, "m0", "disabled")])
    assert not story.partition.is_stored

    story.do("store", 100)
    assert [each.offset for each in story.sink.placed] == [0]
    assert not story.partition.is_stored
    story.do("merge", None)

    assert story.partition.is_stored


def test_a_transaction_that_was_refused_leaves_the_place_to_the_next_owner() -> None:
    story = Story([message("m0", n) for n in range(4)])
    story.do("fold", 3)
    story.do("tell", ("m0", "disabled"))
    story.partition.take(100)

    story.load(0)
    story.end()

    assert [each.offset for each in story.sink.placed] == [0]
    assert len(story.sink.dead_letters) == 4


def said_of(machine: str, **body: str) -> dict:
    return dict(control(1, machine, "enabled").body) | {"body": {"factory_id": "aurora"} | body}


def test_a_machine_that_nobody_knows_is_a_dead_letter_where_its_factory_quarantines_such() -> None:
    story = Story([*(message("m0", n) for n in range(2)), *(message(f"m{n % 2}", n) for n in range(2, 6))])
    story.do("fold", 2)
    policy = {"entity": "factory", "id": "aurora", "body": {"name": "A", "time_zone": "UTC", "policy": "quarantine"}}
    story.sink.write(said_of("aurora") | policy)
    story.partition.tell(story.sink.controls)
    story.do("fold", 2)
    story.sink.write(said_of("m1"))
    story.end()

    assert story.sink.dead_letters == {(3, 0): "unknown_device"}
    assert sorted(story.sink.events) == [(0, 0), (1, 0), (2, 0), (4, 0), (5, 0)]


def test_machines_that_nobody_knows_can_be_quarantined_everywhere() -> None:
    rules = replace(RULES, quarantine_unknown=True)
    story = Story([message("m0", 0), message("m0", 1)])

    story.partition.fold(batch(story.records, 0, 1), rules)
    story.partition.tell([Control(1, METADATA, said_of("m0"), 1)])
    story.partition.fold(batch(story.records, 1, 2), rules)

    taken = story.partition.take(100)
    assert [str(each.reason) for effects in taken.effects for each in effects.dead_letters] == ["unknown_device"]
    assert [len(effects.events) for effects in taken.effects] == [0, 0, 1]


def test_a_machines_line_is_the_one_that_it_had_when_it_sent_its_newest_message() -> None:
    story = Story([message("m0", 0), message("m1", 1)])
    for machine in ("m0", "m1"):
        story.sink.write(said_of(machine, line_id="one"))
    story.partition.tell(story.sink.controls)
    story.do("fold", 1)
    for machine in ("m0", "m1"):
        story.sink.write(said_of(machine, line_id="two") | {"version": 2})
    story.end()

    assert story.sink.lines == {"m0": "one", "m1": "two"}


class Database:
    """Has one control record more whenever somebody looks."""

    def __init__(self) -> None:
        self.answers = True
        self.asked: list[int] = []

    def take_over(self, source: SourcePartition, evidence: Evidence) -> Acquired:
        return Acquired("new", None, 0, 0, None, {}, horizon=5)

    async def since(self, horizon: int) -> Polled:
        self.asked.append(horizon)
        if not self.answers:
            raise DatabaseUnavailable("away")
        return Polled([control(len(self.asked), "m0", "disabled")._replace(xid=horizon)], 7)


async def test_what_came_while_a_partition_was_acquired_is_looked_for() -> None:
    database = Database()
    partitions = Partitions(database.take_over, nothing_stored, nothing_placed, RULES)
    poll = ControlPoll(partitions, database.since, partitions.revoke)
    assert partitions.controls_since == NEVER
    await partitions.acquire(SOURCE, LOG)

    await poll.look()
    await poll.look()
    await partitions.acquire(SourcePartition("t", 1), LOG)
    await poll.look()

    assert database.asked == [5, 7, 5]
    assert partitions.work.is_set()
    assert sorted(partitions.owned[SOURCE].known) == [1, 2, 3]


async def test_what_could_not_be_read_is_looked_for_again() -> None:
    database = Database()
    partitions = Partitions(database.take_over, nothing_stored, nothing_placed, RULES)
    poll = ControlPoll(partitions, database.since, partitions.revoke)
    await partitions.acquire(SOURCE, LOG)
    database.answers = False
    await poll.look()
    database.answers = True

    await poll.look()

    assert database.asked == [5, 5]
    assert partitions.controls_since == 7


async def test_a_database_that_was_restored_elsewhere_has_every_partition_acquired_anew() -> None:
    """Its transactions have lower numbers, by which a partition would take new control records for known ones."""
    numbers = iter((5_000_000, 700))
    answers = iter(
        (Polled([], 5_000_001), Polled([], 800), Polled([control(1, "m0", "disabled")._replace(xid=900)], 901))
    )

    async def read(_: int) -> Polled:
        return next(answers)

    partitions = Partitions(
        lambda *_: Acquired("new", None, 0, 0, None, {}, horizon=next(numbers)), nothing_stored, nothing_placed, RULES
    )
    wanted: list[SourcePartition] = []
    poll = ControlPoll(partitions, read, wanted.append)
    await partitions.acquire(SOURCE, LOG)
    await poll.look()
    assert wanted == []
    await poll.look()
    assert wanted == [SOURCE]
    partitions.revoke(SOURCE)
    await partitions.acquire(SOURCE, LOG)

    await poll.look()

    assert partitions.owned[SOURCE].state.registry.applied == 1


async def test_of_a_database_restored_elsewhere_also_those_are_acquired_anew_that_were_silent_when_others_noticed() -> (
    None
):
    numbers = iter((5_000_000, 5_000_000, 700))

    async def read(_: int) -> Polled:
        return Polled([], 800)

    partitions = Partitions(
        lambda *_: Acquired("new", None, 0, 0, None, {}, horizon=next(numbers)), nothing_stored, nothing_placed, RULES
    )
    silent, refused = SOURCE, SourcePartition("t", 1)
    for source in (silent, refused, refused):
        await partitions.acquire(source, LOG)
    wanted: list[SourcePartition] = []

    await ControlPoll(partitions, read, wanted.append).look()

    assert wanted == [silent]


def quiet_story(*steps: tuple[str, object]) -> Story:
    """Return a story of a machine that is last heard at 5 s, after some steps."""
    story = Story([message("m0", n) for n in range(6)])
    for what, how in steps:
        story.do(what, how)
    return story


def test_a_tick_ends_what_is_open_when_nothing_comes_any_more() -> None:
    story = quiet_story(("fold", 6), ("tick", 400), ("store", 100), ("merge", None))

    assert {at: found[0] for at, found in story.sink.anomalies.items()} == {
        (5, FIRST_INDEX, "m0", "device_silent"): 385.0
    }
    assert [(each.control.kind, each.offset, each.ordinal) for each in story.sink.placed] == [(TICK, 6, 0)]
    assert story.sink.machines["m0"]["silent"]
    assert [each["messages"] for _, each in story.sink.fragments] == [6]
    assert story.partition.state.watermark_ms == BASE_MS + 390_000


def test_there_is_no_tick_where_nothing_would_end() -> None:
    story = quiet_story(("fold", 6), ("tick", 9))
    assert [each.control.kind for effects in story.partition.pending for each in effects.controls] == []

    # The windows of half a minute, a minute and five minutes, the silence and the cycle; then those of the hour and the day
    for second in range(20, 2 * 86_400, 10):
        story.do("tick", second)
    story.do("merge", None)

    assert 4 <= len(story.sink.placed) <= 7


def test_what_a_tick_ends_is_counted_once_whoever_folds_it_again() -> None:
    told = [("fold", 6), ("tick", 400), ("merge", None)]
    once_told = quiet_story(*told).sink
    for crash in (("crash", None), ("rebuild", None)):
        story = quiet_story(*told, crash, ("fold", 6), ("merge", None))
        assert_same(once_told, story.sink)
        assert len(story.sink.placed) == 1


def test_a_tick_whose_transaction_never_came_has_never_been() -> None:
    story = quiet_story(("fold", 3), ("store", 100), ("tick", 400), ("crash", None))
    story.end()

    assert (story.sink.placed, story.sink.anomalies) == ((), {})


def test_a_tick_that_is_stored_before_its_windows_is_counted_when_it_is_folded_again() -> None:
    told = [("fold", 6), ("merge", None), ("tick", 400), ("store", 100)]
    once_told = quiet_story(*told, ("merge", None)).sink

    story = quiet_story(*told, ("crash", None), ("fold", 6), ("merge", None))

    assert_same(once_told, story.sink)
    assert story.sink.machines["m0"]["silent"]
    assert len(story.sink.fragments) == 1

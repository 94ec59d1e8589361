"""R40: a replay becomes the live tables and not any more, whatever workers do meanwhile; nothing is lost or counts twice."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from pipeline.core.decoding.codec import CodecRules
from pipeline.core.effects import Effects
from pipeline.core.errors import NotOwner, SettingsError
from pipeline.core.fold import FoldRules, Marks
from pipeline.core.records import Record
from pipeline.core.spikes import SpikeRules
from pipeline.core.state import PartitionState
from pipeline.core.times import iso
from pipeline.replaying import promotion, promotion_marks, replays, stretches
from pipeline.replaying.promotion import Outcome, Projection
from pipeline.replaying.replays import Replay
from pipeline.replaying.stretches import Stretch
from pipeline.store.connect import Connection, connect
from tables import snapshots
from tests.core.raw_messages import maintenance, quality
from tests.core.sinks import SOURCE, MemorySink, feed, record
from tests.core.test_fold_laws import BASE_MS, assert_same_cycles, assert_same_windows
from tests.store.database_sink import DatabaseSink, rows

TOTAL = 400
# What the replay repairs: another threshold, and clocks that were ahead are no longer accepted
OLD = FoldRules(codec=CodecRules(max_future_ms=10**9), spikes=SpikeRules(threshold=3.0, warm_up=4))
NEW = FoldRules(codec=CodecRules(max_future_ms=5_000), spikes=SpikeRules(threshold=2.0, fading=0.1, warm_up=4))


def stream(seed: int) -> list[Record]:
    chance = random.Random(seed)
    made = []
    for number in range(TOTAL):
        at = BASE_MS + 1000 * number
        message = {
            "machine": f"m{chance.randrange(4)}",
            "time_ms": at + chance.choice([0, 0, 0, -90_000, 20_000]),
            "ingest_ms": at,
            "seq": number,
            "readings": {"t": 50 + chance.gauss(0, 1) * chance.choice([1, 1, 1, 6])},
        }
        if chance.random() < 0.05:
            message = {"ingest_ms": at, "garbage": b"{"}
        elif chance.random() < 0.1:
            message = {"ingest_ms": at, "fact": fact(chance, message["machine"], message["time_ms"])}
        made.append(record(number, message))
    return made


def fact(chance: random.Random, machine: str, time_ms: int) -> dict:
    if chance.random() < 0.5:
        return maintenance(machine_id=machine, time=iso(time_ms))
    return quality(machine_id=machine, period_start=iso(time_ms - 60_000), period_end=iso(time_ms))


class NotingSink(DatabaseSink):
    """Notes what it stores."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.noted = MemorySink()

    def store(self, effects: Effects) -> None:
        super().store(effects)
        self.noted.store(effects)


@dataclass
class World:
    """One partition: its log, the live tables and what they should hold, and a replay of them."""

    admin: Connection
    dsn: str
    records: list[Record]
    live: NotingSink
    replay: Replay
    anomalies: dict = field(default_factory=dict)
    letters: dict = field(default_factory=dict)

    def work(self, rules: FoldRules, to: int, merged: int | None = None, keep: bool = True) -> None:
        """Be a worker: acquire, fold from the snapshot on, store up to some offset, and keep the state at its end."""
        taken = self.live.acquire()
        found = snapshots.decode(taken.snapshot[1]) if taken.snapshot else PartitionState()
        start = taken.snapshot[0] if taken.snapshot else 0
        self.live.noted = MemorySink()
        if start > min(taken.effects, taken.windows):
            pytest.fail("a snapshot ahead of the marks")
        reach = Marks(to, to if merged is None else merged)
        feed(self.live, found, self.records[:to], range(0, to, 17), rules, start, reach=reach)
        if keep and merged is None:
            assert self.live.save(found, to)
        assert all(key[0] >= taken.effects for key in self.live.noted.anomalies)
        self.anomalies |= self.live.noted.anomalies
        self.letters |= self.live.noted.dead_letters

    def again(self, rules: FoldRules, to: int, keep: bool = True) -> None:
        """Be the replay, up to some offset."""
        shadow = DatabaseSink(self.dsn, self.replay.schema)
        shadow.acquire()
        state = PartitionState()
        feed(shadow, state, self.records[:to], range(0, to, 29), rules)
        assert not keep or shadow.save(state, to)
        shadow.close()

    def found(self) -> Replay:
        return replays.find(self.admin, self.replay.name)

    def promote(self, only: Projection | None = None) -> Outcome:
        return promotion.promote(self.admin, self.found(), only)

    def undo(self) -> Outcome:
        return promotion.undo(self.admin, self.found())

    def assert_live(self, windows: FoldRules, to: int) -> None:
        """Check every live table: windows and machines as folded by these rules, the rest as it was noted."""
        actual, expected = rows_that_count(self.admin), _fold(self.records[:to], windows)
        assert_same_windows(expected.window_rows(), actual["windows"])
        assert_same_windows(expected.factory_rows(), actual["factories"])
        assert_same_cycles(expected.cycle_rows(), actual["cycles"])
        assert actual["machines"] == expected.machines
        assert actual["anomalies"].keys() == self.anomalies.keys()
        for key, numbers in self.anomalies.items():
            assert actual["anomalies"][key] == pytest.approx(numbers, rel=1e-9)
        assert actual["dead_letters"] == self.letters
        sent = {key: each for key, each in _fold(self.records[:to], OLD).events.items() if key not in self.letters}
        assert actual["events"] == sent
        told = {key: each for key, each in _fold(self.records[:to], OLD).facts.items() if key not in self.letters}
        assert actual["facts"] == told
        derived = self.admin.execute(
            "SELECT event_id FROM dashboard.event WHERE event_type LIKE '% Anomaly' ORDER BY 1"
        ).fetchall()
        assert derived == self.admin.execute("SELECT event_id FROM anomaly ORDER BY 1").fetchall()
        bodies = self.admin.execute(
            "SELECT count(*) FROM anomaly JOIN dashboard.event AS e USING (event_id) WHERE (e.body ->> 'score')::float8 = score"
        ).fetchone()
        assert bodies == (len(derived),)


def _fold(records: list[Record], rules: FoldRules) -> MemorySink:
    sink = MemorySink()
    feed(sink, PartitionState(), records, [], rules)
    return sink


def rows_that_count(admin: Connection) -> dict[str, dict]:
    """Return the live rows without superseded events, as :func:`tests.store.database_sink.rows` does."""
    admin.execute("CREATE TEMPORARY VIEW current AS SELECT * FROM dashboard.event")
    try:
        admin.execute("SET search_path TO pg_temp, telemetry")
        admin.execute("ALTER VIEW current RENAME TO event")
        return rows(admin)
    finally:
        admin.execute("DROP VIEW pg_temp.event")
        admin.execute("SET search_path TO telemetry, public")


@pytest.fixture
def world(database) -> Iterator[Callable[[int], World]]:
    with connect(database.admin_dsn, autocommit=True) as admin:
        live = NotingSink(database.dsn)

        def make(seed: int) -> World:
            replay = stretches.create(admin, "r", live.progress, {SOURCE: Stretch(0, TOTAL)}, {"cold": False})
            return World(admin, database.dsn, stream(seed), live, replay)

        yield make
        live.close()


def promoted(of: World, chance: random.Random) -> int:
    """Let workers live by the old rules, a replay by the new ones come less far, and be promoted; return its cut."""
    to = chance.randrange(200, 300)
    merged = chance.randrange(to // 2, to + 1)
    of.work(OLD, to // 3)
    of.work(OLD, to, merged=merged)
    cut = chance.randrange(50, to)
    of.again(NEW, cut)
    mine = _fold(of.records[:cut], NEW)
    of.promote()
    of.anomalies = mine.anomalies | {key: each for key, each in of.anomalies.items() if key[0] >= cut}
    of.letters = mine.dead_letters | {key: each for key, each in of.letters.items() if key[0] >= cut}
    return cut


@pytest.mark.parametrize("seed", range(6))
def test_promoted_a_replay_is_what_workers_go_on_from(world, seed: int) -> None:
    at: World = world(seed)
    cut = promoted(at, random.Random(seed))
    assert at.found().state == "promoted"
    (marks,) = at.admin.execute("SELECT effects_next, windows_next FROM source_progress").fetchall()
    assert marks[1] == cut <= marks[0]

    at.work(NEW, TOTAL)

    # From the cut on, what workers stored by the old rules stays: also messages that the new ones refuse
    at.assert_live(NEW, TOTAL)


@pytest.mark.parametrize("seed", range(6))
def test_undone_a_promotion_has_left_nothing_and_workers_lost_nothing(world, seed: int) -> None:
    at: World = world(seed)
    chance = random.Random(seed)
    before: dict = {}

    def remember(cut: int) -> None:
        before["anomalies"] = {key: each for key, each in at.anomalies.items() if key[0] < cut}
        before["letters"] = {key: each for key, each in at.letters.items() if key[0] < cut}

    to = chance.randrange(200, 300)
    at.work(OLD, to // 3)
    at.work(OLD, to, merged=chance.randrange(to // 2, to + 1))
    cut = chance.randrange(50, to)
    remember(cut)
    at.again(NEW, cut)
    at.promote()
    # Workers go on meanwhile, by the old rules
    at.work(OLD, chance.randrange(to, TOTAL))

    outcome = at.undo()
    at.work(OLD, TOTAL)

    at.anomalies = before["anomalies"] | {key: each for key, each in at.anomalies.items() if key[0] >= cut}
    at.letters = before["letters"] | {key: each for key, each in at.letters.items() if key[0] >= cut}
    at.assert_live(OLD, TOTAL)
    assert at.found().state == "complete"
    assert at.admin.execute("SELECT number FROM promotion WHERE undone_at IS NOT NULL").fetchone() == (outcome.number,)


def test_promoted_undone_and_promoted_again(world) -> None:
    at: World = world(1)
    at.work(OLD, 250)
    at.again(NEW, 200)
    first = at.promote()
    at.work(NEW, 300)
    at.undo()
    at.work(NEW, 320)

    second = at.promote()
    at.work(NEW, TOTAL)

    assert second.number > first.number
    assert_same_windows(_fold(at.records, NEW).window_rows(), rows_that_count(at.admin)["windows"])
    mine = _fold(at.records[:200], NEW)
    found = rows_that_count(at.admin)
    assert {key for key in found["anomalies"] if key[0] < 200} == set(mine.anomalies)
    assert {key for key in found["dead_letters"] if key[0] < 200} == set(mine.dead_letters)


def test_only_windows_or_only_anomalies_are_promoted(world) -> None:
    at: World = world(2)
    at.work(OLD, 250)
    at.again(NEW, 200)
    at.promote(Projection.ANOMALIES)
    found = rows_that_count(at.admin)
    assert_same_windows(_fold(at.records[:250], OLD).window_rows(), found["windows"])
    assert {key for key in found["anomalies"] if key[0] < 200} == set(_fold(at.records[:200], NEW).anomalies)
    assert found["dead_letters"] == at.letters
    assert at.admin.execute("SELECT windows_next FROM source_progress").fetchone() == (250,)
    at.undo()
    assert rows_that_count(at.admin)["anomalies"].keys() == at.anomalies.keys()

    at.promote(Projection.WINDOWS)

    found = rows_that_count(at.admin)
    assert_same_windows(_fold(at.records[:200], NEW).window_rows(), found["windows"])
    assert found["anomalies"].keys() == at.anomalies.keys()
    at.undo()
    at.work(OLD, TOTAL)
    at.assert_live(OLD, TOTAL)


def test_a_replay_that_found_the_same_changes_no_row(world) -> None:
    at: World = world(3)
    at.work(OLD, 300)
    at.again(OLD, 300)
    before = at.admin.execute(
        "SELECT machine_id, sensor, window_start, updated_at FROM reading_window ORDER BY 1, 2, 3"
    )
    kept = before.fetchall()

    outcome = at.promote()

    assert {(each.removed, each.added) for each in outcome.tables} == {(0, 0)}
    assert (outcome.events_added, outcome.events_superseded, outcome.again) == (0, 0, 0)
    query = "SELECT machine_id, sensor, window_start, updated_at FROM reading_window ORDER BY 1, 2, 3"
    assert at.admin.execute(query).fetchall() == kept


def test_rows_of_other_groups_stay_as_they_are(world) -> None:
    at: World = world(4)
    at.work(OLD, 250)
    at.admin.execute(
        "INSERT INTO source_progress (cluster, consumer_group, topic, partition, source_id, effects_next, windows_next)"
        " VALUES ('local', 'other', 'elsewhere', 0, 77, 9, 9)"
    )
    for table in ("reading_window", "machine_state"):
        columns = "machine_id, source_id"
        rest = at.admin.execute(
            "SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position) FROM information_schema.columns"
            " WHERE table_schema = 'telemetry' AND table_name = %s AND column_name NOT IN ('machine_id', 'source_id')",
            [table],
        ).fetchone()[0]
        at.admin.execute(
            f"INSERT INTO {table} ({columns}, {rest}) SELECT 'other-' || machine_id, 77, {rest} FROM {table}"
        )
    at.again(NEW, 200)
    query = "SELECT * FROM {} WHERE source_id = 77 ORDER BY 1, 2, 3"
    kept = [at.admin.execute(query.format(table)).fetchall() for table in ("reading_window", "machine_state")]

    at.promote()
    assert [at.admin.execute(query.format(t)).fetchall() for t in ("reading_window", "machine_state")] == kept
    at.undo()
    assert [at.admin.execute(query.format(t)).fetchall() for t in ("reading_window", "machine_state")] == kept


def test_what_people_did_with_dead_letters_stays(world) -> None:
    at: World = world(5)
    at.work(OLD, 250)
    at.again(NEW, 250)
    at.admin.execute(
        "UPDATE dead_letter SET requeued_at = '2026-01-01', detail = 'as it was' WHERE source_offset < 100"
    )
    marked = at.admin.execute("SELECT count(*) FROM dead_letter WHERE requeued_at IS NOT NULL").fetchone()

    at.promote()
    at.admin.execute("UPDATE dead_letter SET requeued_at = '2026-01-02' WHERE source_offset >= 100")
    assert at.admin.execute("SELECT count(*) FROM dead_letter WHERE requeued_at = '2026-01-01'").fetchone() == marked
    at.undo()

    assert at.admin.execute("SELECT count(*) FROM dead_letter WHERE requeued_at IS NULL").fetchone() == (0,)
    assert at.admin.execute("SELECT count(*) FROM dead_letter WHERE detail = 'as it was'").fetchone() == marked


def test_an_owner_from_before_can_store_nothing_after_a_promotion(world) -> None:
    at: World = world(0)
    at.work(OLD, 250)
    at.again(NEW, 200)
    owner = at.live.owner
    at.promote()
    kept = at.admin.execute("SELECT snapshot_offset, state FROM partition_snapshot").fetchall()

    at.live.owner = owner
    assert not at.live.save(PartitionState(), 250)
    with pytest.raises(AssertionError):
        feed(at.live, PartitionState(), at.records[:300], [], OLD, start=250)

    assert at.admin.execute("SELECT snapshot_offset, state FROM partition_snapshot").fetchall() == kept
    assert at.admin.execute("SELECT effects_next, windows_next FROM source_progress").fetchone() == (250, 200)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE replay SET options = '{\"cold\": true}'", "began cold, or with limits"),
        ("UPDATE replay SET options = '{\"since_ms\": 5}'", "began cold, or with limits"),
        ("UPDATE replay_range SET from_offset = 3", "has not all of telemetry.machine[0]"),
        ("DELETE FROM replay_r.source_progress", "has not all of telemetry.machine[0]"),
        ("UPDATE source_progress SET log_since = now()", "is not the one it once was"),
        ("UPDATE source_progress SET config_version = 'other'", "give the workers its settings first"),
        ("UPDATE replay_r.source_progress SET windows_next = 190", "is not done with telemetry.machine[0]"),
        ("UPDATE source_progress SET effects_next = 150", "50 records behind the replay 'r'"),
        (
            "INSERT INTO source_progress (cluster, consumer_group, topic, partition, source_id, effects_next, windows_next)"
            " SELECT 'another', consumer_group, topic, partition, 7, 0, 0 FROM source_progress",
            "events cannot be told apart",
        ),
        (
            "INSERT INTO replay_r.source_gap (cluster, consumer_group, topic, partition, from_offset, to_offset, reason)"
            " VALUES ('local', 'laws', 't', 0, 1, 2, 'x')",
            "lacks records",
        ),
        ("ALTER TABLE reading_window ADD COLUMN later int", "before a migration changed"),
        ("DELETE FROM source_progress", "nothing to promote over"),
    ],
)
def test_what_would_be_wrong_is_refused_and_changes_nothing(world, statement: str, says: str) -> None:
    at: World = world(0)
    at.work(OLD, 250)
    at.again(NEW, 200)
    at.admin.execute(statement)
    before = rows_that_count(at.admin)

    with pytest.raises(SettingsError, match=says.replace("[", r"\[").replace("]", r"\]")):
        at.promote()

    assert rows_that_count(at.admin) == before
    assert at.admin.execute("SELECT count(*) FROM promotion").fetchone() == (0,)


def test_only_the_last_promotion_can_be_undone(world) -> None:
    at: World = world(0)
    at.work(OLD, 250)
    at.again(NEW, 200)
    with pytest.raises(SettingsError, match="nothing to undo"):
        at.undo()
    at.promote()
    first, at.replay = (
        at.replay,
        stretches.create(at.admin, "s", at.live.progress, {SOURCE: Stretch(0, TOTAL)}, {"cold": False}),
    )
    at.again(OLD, 210)
    at.promote()

    with pytest.raises(SettingsError, match="pipeline replay undo s"):
        replace(at, replay=first).undo()
    at.undo()
    replace(at, replay=first).undo()
    assert rows_that_count(at.admin)["anomalies"].keys() == at.anomalies.keys()


def test_a_late_snapshot_of_the_owner_before_cannot_slip_in_between(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks for its owner while the promotion is not committed yet, and would write after it."""
    at: World = world(0)
    at.work(OLD, 250)
    at.again(NEW, 200)
    owner, taken, saving, take = at.live.owner, threading.Event(), threading.Event(), promotion_marks.take

    def take_slowly(*arguments: object) -> int:
        found = take(*arguments)
        taken.set()
        assert saving.wait(20)
        time.sleep(0.5)
        return found

    monkeypatch.setattr(promotion_marks, "take", take_slowly)
    with ThreadPoolExecutor(2) as pool:
        promoted = pool.submit(at.promote)
        assert taken.wait(20)
        at.live.owner = owner
        at.live.leasing.execute("SET lock_timeout TO '20s'")
        saved = pool.submit(at.live.save, PartitionState(), 250)
        saving.set()
        assert not saved.result(30)
        promoted.result(30)
    assert at.admin.execute("SELECT snapshot_offset FROM partition_snapshot").fetchone() == (200,)


def test_a_promoted_replay_is_promoted_once_and_undone_once(world) -> None:
    at: World = world(0)
    at.work(OLD, 250)
    at.again(NEW, 200)
    at.promote()
    with pytest.raises(SettingsError, match="is promoted already"):
        at.promote()
    at.undo()
    with pytest.raises(SettingsError, match="nothing to undo"):
        at.undo()


def test_a_name_that_was_promoted_dropped_and_used_again_is_not_undone_twice(world) -> None:
    at: World = world(0)
    at.work(OLD, 250)
    at.again(NEW, 200)
    at.promote()
    replays.drop(at.admin, at.found())
    stretches.create(at.admin, "r", at.live.progress, {SOURCE: Stretch(0, TOTAL)}, {"cold": False})
    with pytest.raises(SettingsError, match="nothing to undo"):
        at.undo()
    at.again(OLD, 200)
    at.promote()
    at.undo()
    with pytest.raises(SettingsError, match="nothing to undo"):
        at.undo()


def test_processes_that_outlive_the_one_that_started_them_hold_a_promotion_up(world, database, monkeypatch) -> None:
    world(0)
    monkeypatch.setattr(replays, "_ORPHANS_S", 0.5)
    with connect(database.admin_dsn, autocommit=True) as orphan, connect(database.admin_dsn, autocommit=True) as other:
        replays.share(orphan, "r")
        with pytest.raises(NotOwner, match="still at work"):
            replays.claim_alone(other, "r")
        orphan.close()
    with connect(database.admin_dsn, autocommit=True) as other:
        replays.claim_alone(other, "r")
        with connect(database.admin_dsn, autocommit=True) as late, pytest.raises(NotOwner, match="being taken over"):
            replays.share(late, "r")


def test_a_process_that_was_left_cannot_store_into_a_promoted_shadow(world) -> None:
    at: World = world(0)
    at.work(OLD, 250)
    shadow = DatabaseSink(at.dsn, at.replay.schema)
    shadow.acquire()
    feed(shadow, PartitionState(), at.records[:200], [], NEW)
    at.promote()
    with pytest.raises(AssertionError):
        feed(shadow, PartitionState(), at.records[:250], [], NEW, start=200)
    shadow.close()


def test_a_sensor_whose_model_has_faded_to_almost_nothing_is_compared(world) -> None:
    at: World = world(0)
    at.work(OLD, 250)
    at.again(OLD, 250)
    for schema in ("telemetry", at.replay.schema):
        at.admin.execute(f"UPDATE {schema}.anomaly SET expected = 8e-323, score = 1e-310")
        at.admin.execute(f"UPDATE {schema}.reading_window SET mean = 1e-318, m2 = 0")
    outcome = at.promote()
    assert {(each.removed, each.added) for each in outcome.tables} == {(0, 0)}


@pytest.mark.parametrize("undone", [False, True])
def test_what_workers_would_have_to_fold_again_must_still_be_there(world, undone: bool) -> None:
    at: World = world(0)
    at.work(OLD, 250)
    at.again(NEW, 200)
    if undone:
        at.promote()
        at.work(NEW, 300)
    at.admin.execute("INSERT INTO retention_mark VALUES ('event', now() + interval '1 year')")
    with pytest.raises(SettingsError, match="too old for that"):
        at.undo() if undone else at.promote()


def test_what_was_dropped_because_of_its_age_does_not_come_back(world) -> None:
    at: World = world(0)
    at.work(OLD, 250)
    at.again(NEW, 200)
    (middle,) = at.admin.execute(
        "SELECT date_trunc('minute', percentile_disc(0.5) WITHIN GROUP (ORDER BY event_time)) FROM event"
    ).fetchone()
    for table, column in (("event", "event_time"), ("anomaly", "event_time"), ("reading_window", "window_start")):
        at.admin.execute(f"DELETE FROM {table} WHERE {column} < %s", [middle])
        at.admin.execute("INSERT INTO retention_mark VALUES (%s, %s)", [table, middle])

    at.promote()

    for table, column in (("event", "event_time"), ("anomaly", "event_time"), ("reading_window", "window_start")):
        found = at.admin.execute(f"SELECT count(*) FROM {table} WHERE {column} < %s", [middle]).fetchone()
        assert found == (0,), table
    assert at.admin.execute("SELECT count(*) FROM anomaly").fetchone() != (0,)


def test_a_partition_that_no_worker_has_stored_is_waited_for(world) -> None:
    at: World = world(0)
    at.work(OLD, 250)
    at.again(NEW, 200)
    at.admin.execute(
        f"INSERT INTO {at.replay.schema}.source_progress (cluster, consumer_group, topic, partition, source_id, effects_next,"
        " windows_next) SELECT cluster, consumer_group, topic, 9, 9, 5, 5 FROM source_progress"
    )
    with pytest.raises(SettingsError, match=r"has telemetry.machine\[9\], of which no worker|telemetry.machine\[9\]"):
        at.promote()

"""Verifying a ledger: sound tables hold, and every single defect is found and named."""

from __future__ import annotations

import datetime as dt
import itertools
import statistics
import uuid
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from psycopg.conninfo import make_conninfo

from pipeline import verify_queries
from pipeline.core.banks import MEMORY
from pipeline.core.effects import UnitOfWork
from pipeline.core.errors import DatabaseUnavailable, SchemaOutdated, SettingsError
from pipeline.core.fold import FOLD_VERSION, FoldRules, Marks, fold, project
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.store.connect import connect
from pipeline.store.progress import Progress, Subscriber
from pipeline.store.sink import Sink
from pipeline.verify import Verification, behind, ledger_ends, settled, verify
from simulator import ledger as ledgers
from simulator.ledger import Ledger, LedgerRow
from simulator.messages import Message, Sent
from simulator.options import PlantOptions
from simulator.plant import Plant

TOPIC, GROUP = "telemetry.machine", "verified"
PLANT = PlantOptions(
    machines=12,
    messages=600,
    duplicate_share=0.05,
    late_share=0.05,
    garbage_share=0.05,
    array_share=0.1,
    lab_share=0.2,
    offline_share=0.005,
)
LATENCY_MS = 250


class Tables:
    """The sink tables of one database, written row by row as the pipeline should have."""

    def __init__(self, admin_dsn: str, dsn: str, folder: Path) -> None:
        self.dsn, self.ledger = dsn, folder / "ledger.csv"
        self.admin = connect(admin_dsn, autocommit=True)
        self.admin.execute("TRUNCATE event, dead_letter, reading_window, anomaly, source_progress")

    def send(self, records: list[Sent], partitions: int = 2) -> list[LedgerRow]:
        """Note records in the ledger, a machine always in the same partition; return its rows."""
        ends: dict[int, int] = defaultdict(int)
        with Ledger(self.ledger) as ledger:
            for record in records:
                partition = sum(record.key) % partitions
                ledger.append(record, 0, TOPIC, partition, ends[partition])
                ends[partition] += 1
        return list(ledgers.read(self.ledger))

    def store(self, rows: list[LedgerRow]) -> None:
        """Store what a ledger says: sound messages once, garbage as dead letters, windows of what is stored."""
        with self.admin.pipeline():
            self._store(rows)

    def _store(self, rows: list[LedgerRow]) -> None:
        readings: dict[tuple[str, str, int], list[float]] = defaultdict(list)
        for row in accepted(rows):
            self.store_event(row)
            for sensor, value in orjson.loads(row.readings).items():
                readings[row.machine_id, sensor, row.event_time_ms // 60_000].append(value)
            for odd in orjson.loads(row.anomalies):
                self.store_anomaly(row, odd["sensor"], odd["kind"])
        for key, values in readings.items():
            self.store_window(*key, values)
        for row in rows:
            if row.kind == "garbage":
                self.store_letter(row)

    def store_event(self, row: LedgerRow, **other: object) -> None:
        at = dt.datetime.fromtimestamp(row.event_time_ms / 1000, dt.UTC)
        columns = {
            "event_id": uuid.uuid4(),
            "event_type": "Telemetry Ingest",
            "entity_type": "machine",
            "entity_id": uuid.uuid4(),
            "machine_id": row.machine_id,
            "factory_id": row.factory_id,
            "event_time": at,
            "ingest_time": at,
            "source_topic": row.topic,
            "source_partition": row.partition,
            "source_offset": row.offset,
            "source_index": row.index,
            "body": "{}",
        }
        self._insert("event", columns | other)

    def store_letter(self, row: LedgerRow, body: bytes = b"", **other: object) -> None:
        columns = {
            "cluster": "local",
            "consumer_group": GROUP,
            "source_topic": row.topic,
            "source_partition": row.partition,
            "source_offset": row.offset,
            "source_index": row.index,
            "reason": "not_json",
            "detail": "",
            "key": b"",
            "body": body,
            "headers": "[]",
            "record_time": dt.datetime.now(dt.UTC),
        }
        self._insert("dead_letter", columns | other)

    def store_anomaly(self, row: LedgerRow, sensor: str, kind: str) -> None:
        columns = {
            "cluster": "local",
            "source_topic": row.topic,
            "source_partition": row.partition,
            "source_offset": row.offset,
            "source_index": row.index,
            "sensor": sensor,
            "kind": kind,
            "machine_id": row.machine_id,
            "factory_id": row.factory_id,
            "event_time": dt.datetime.fromtimestamp(row.event_time_ms / 1000, dt.UTC),
            "detector": "ew-gaussian",
            "worker": "w",
            "event_id": uuid.uuid4(),
            "message_id": uuid.uuid4(),
        }
        self._insert("anomaly", columns | dict.fromkeys(("value", "expected", "score", "detector_version"), 1))

    def store_window(self, machine_id: str, sensor: str, window: int, values: list[float]) -> None:
        start = dt.datetime.fromtimestamp(window * 60, dt.UTC)
        columns = {
            "machine_id": machine_id,
            "sensor": sensor,
            "window_start": start,
            "factory_id": "aurora",
            "count": len(values),
            "mean": statistics.fmean(values),
            "m2": statistics.variance(values) * (len(values) - 1) if len(values) > 1 else 0.0,
            "min": min(values),
            "max": max(values),
            "last": values[-1],
            "last_time": start,
        }
        numbers = dict.fromkeys(("last_source", "last_offset", "last_index", "late_count", "source_id"), 0)
        self._insert("reading_window", columns | numbers)

    def move_marks(self, partition: int, effects: int, windows: int, topic: str = TOPIC) -> None:
        columns = {"cluster": "local", "consumer_group": GROUP, "topic": topic, "partition": partition, "source_id": 77}
        self._insert("source_progress", columns | {"effects_next": effects, "windows_next": windows})

    def _insert(self, table: str, columns: dict[str, object]) -> None:
        marks = ", ".join(["%s"] * len(columns))
        self.admin.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", list(columns.values()))

    def verify(self) -> Verification:
        return verify(self.ledger, self.dsn, group=GROUP)


def accepted(rows: list[LedgerRow]) -> list[LedgerRow]:
    """Return what the fold accepts: no garbage, and no duplicate that it remembers."""
    remembered: dict[tuple[int, str], deque] = defaultdict(lambda: deque(maxlen=MEMORY))
    kept = []
    for row in sorted(rows, key=lambda r: (r.partition, r.offset, r.index)):
        sent, said = remembered[row.partition, row.machine_id], (row.seq, row.event_time_ms)
        if row.kind == "garbage" or (row.seq is not None and said in sent):
            continue
        if row.seq is not None:
            sent.append(said)
        kept.append(row)
    return kept


def message(seq: int, machine_id: str = "press-00001", value: float = 55.0, at_ms: int | None = None) -> Sent:
    time_ms = 1_800_000_000_000 + 1_000 * seq if at_ms is None else at_ms
    said = Message(machine_id, "aurora", seq, time_ms, (), f'{{"temperature":{value}}}')
    return Sent(machine_id.encode(), b"{}", (), "sent", "", time_ms, (said,))


@pytest.fixture
def tables(database, tmp_path: Path) -> Iterator[Tables]:
    made = Tables(database.admin_dsn, database.dsn, tmp_path)
    with made.admin:
        yield made


@pytest.fixture
def rows(tables: Tables) -> list[LedgerRow]:
    """The rows of a misbehaved plant's ledger; the tables are as they should be."""
    sent = tables.send(list(Plant(PLANT)))
    tables.store(sent)
    return sent


def assert_only(found: Verification, **defects: int) -> None:
    names = ("lost", "doubled", "unexpected", "windows_wrong", "refused", "unverified")
    assert {name: getattr(found, name) for name in names} == dict.fromkeys(names, 0) | defects
    assert found.holds == (not any(defects.get(name) for name in names[:4]))


def sound(rows: list[LedgerRow]) -> LedgerRow:
    """Return a message that is alone in its place: no duplicate, no array."""
    times = [(row.machine_id, row.seq, row.event_time_ms) for row in rows]
    offsets = [(row.partition, row.offset) for row in rows]
    return next(
        row
        for row, said, place in zip(rows, times, offsets, strict=True)
        if row.kind == "sent" and row.seq and times.count(said) == 1 and offsets.count(place) == 1
    )


def test_sound_tables_hold(tables: Tables, rows: list[LedgerRow]) -> None:
    found = tables.verify()

    assert_only(found)
    assert found.examples == ()
    assert found.sent == len(rows)
    assert found.stored == len(accepted(rows))
    assert found.dead_letters == sum(row.kind == "garbage" for row in rows) > 0
    assert found.device_duplicates == sum(row.kind == "duplicate" for row in rows) > 0
    assert found.sent == found.stored + found.dead_letters + found.device_duplicates
    assert found.anomalies == found.anomalies_true == found.anomalies_found > 0
    assert found.windows == tables.admin.execute("SELECT count(*) FROM reading_window").fetchone()[0] > 100


def test_the_summary_is_json(tables: Tables, rows: list[LedgerRow]) -> None:
    summary = orjson.loads(orjson.dumps(tables.verify().summary))

    assert summary["holds"] is True
    assert summary["sent"] == len(rows)
    assert summary["examples"] == []


@pytest.mark.parametrize("share", ["all", "one"])
def test_a_lost_message_is_found(tables: Tables, rows: list[LedgerRow], share: str) -> None:
    if share == "all":
        tables.admin.execute("TRUNCATE event, reading_window")
        assert_only(tables.verify(), lost=len({identity(row) for row in rows if row.kind != "garbage"}))
        return
    lost = sound(rows)
    tables.admin.execute("DELETE FROM event " + at(lost))

    found = tables.verify()

    assert_only(found, lost=1, windows_wrong=5)
    assert f"lost {place(lost)} {lost.machine_id}" in found.examples


def test_a_lost_original_is_not_made_good_by_a_duplicate_that_was_dropped(
    tables: Tables, rows: list[LedgerRow]
) -> None:
    copies = [identity(row) for row in rows]
    original = next(r for r in accepted(rows) if r.seq is not None and copies.count(identity(r)) == 2)
    tables.admin.execute("DELETE FROM event " + at(original))

    assert tables.verify().lost == 1


def test_a_row_that_was_stored_twice_is_doubled(tables: Tables, rows: list[LedgerRow]) -> None:
    tables.store_event(sound(rows))

    found = tables.verify()

    assert_only(found, doubled=1)
    assert found.examples == (f"doubled {place(sound(rows))} {sound(rows).machine_id}",)


def test_a_duplicate_that_a_device_sent_and_that_was_stored_is_doubled(tables: Tables) -> None:
    sent = tables.send([message(0), message(1), message(0)])
    tables.store(sent)
    assert_only(tables.verify())

    tables.store_event(sent[2])

    assert tables.verify().doubled == 1


def test_the_same_seq_at_another_time_is_no_duplicate(tables: Tables) -> None:
    tables.store(tables.send([message(0), message(1), message(0, at_ms=1_800_000_005_000)]))

    found = tables.verify()
    assert_only(found)
    assert (found.stored, found.device_duplicates) == (3, 0)


@pytest.mark.parametrize(("between", "unverified"), [(MEMORY - 1, 0), (MEMORY, 1)])
def test_a_duplicate_older_than_the_memory_may_be_stored(tables: Tables, between: int, unverified: int) -> None:
    sent = tables.send([*(message(seq) for seq in range(between + 1)), message(0)])
    tables.store(sent)

    found = tables.verify()

    assert_only(found, unverified=unverified)
    assert found.stored == between + 1 + unverified


def test_a_duplicate_that_the_fold_could_not_remember_is_lost_if_it_is_missing(tables: Tables) -> None:
    sent = tables.send([*(message(seq) for seq in range(MEMORY + 1)), message(0)])
    tables.store(sent[:-1])

    assert tables.verify().lost == 1


def test_a_missing_dead_letter_is_lost(tables: Tables, rows: list[LedgerRow]) -> None:
    garbage = next(row for row in rows if row.kind == "garbage")
    tables.admin.execute("DELETE FROM dead_letter " + at(garbage))

    found = tables.verify()

    assert_only(found, lost=1)
    assert found.examples == (f"lost {place(garbage)} {garbage.machine_id}",)


def test_dead_letters_of_another_group_do_not_count(tables: Tables, rows: list[LedgerRow]) -> None:
    tables.admin.execute("UPDATE dead_letter SET consumer_group = 'other'")

    assert_only(tables.verify(), lost=sum(row.kind == "garbage" for row in rows))


def test_garbage_that_was_accepted_is_unexpected(tables: Tables, rows: list[LedgerRow]) -> None:
    tables.store_event(next(row for row in rows if row.kind == "garbage"))

    assert_only(tables.verify(), unexpected=1)


def test_a_sound_message_that_became_a_dead_letter_is_refused_and_not_lost(tables: Tables) -> None:
    sent = tables.send([message(0), message(1)])
    tables.store(sent[:1])
    tables.store_letter(sent[1])

    assert_only(tables.verify(), refused=1)


def test_an_array_that_was_refused_as_a_whole_counts_with_all_its_messages(tables: Tables) -> None:
    array = message(0)._replace(messages=tuple(message(seq).messages[0] for seq in range(3)))
    sent = tables.send([array, message(9)])
    tables.store(sent[3:])
    tables.store_letter(sent[0], body=b"[{}, {}, {}]")

    assert_only(tables.verify(), refused=3)


def test_of_an_array_with_one_refused_message_the_others_may_not_be_missing(tables: Tables) -> None:
    array = message(0)._replace(messages=tuple(message(seq).messages[0] for seq in range(3)))
    sent = tables.send([array])
    tables.store(sent[1:2])
    tables.store_letter(sent[0], body=b"[1]")

    assert_only(tables.verify(), refused=1, lost=1)


@pytest.mark.parametrize(
    "other",
    [
        {"source_offset": 10**6},
        {"source_index": 9},
        {"source_partition": 7},
        {"machine_id": "press-99999"},
        {"event_time": dt.datetime(2031, 1, 1, tzinfo=dt.UTC)},
    ],
)
def test_a_row_that_is_not_in_the_ledger_is_unexpected(
    tables: Tables, rows: list[LedgerRow], other: dict[str, object]
) -> None:
    tables.store_event(sound(rows), **other)

    found = tables.verify()

    assert_only(found, unexpected=1)
    assert [text.partition(" ")[0] for text in found.examples] == ["unexpected"]


@pytest.mark.parametrize("other", [{"source_topic": "another.topic"}, {"event_type": "Temperature Anomaly"}])
def test_rows_of_other_topics_and_derived_events_are_not_judged(
    tables: Tables, rows: list[LedgerRow], other: dict[str, object]
) -> None:
    tables.store_event(sound(rows), **other)

    assert_only(tables.verify())


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE reading_window SET count = count + 1",
        "UPDATE reading_window SET min = min - 0.01",
        "UPDATE reading_window SET max = max + 0.01",
        "UPDATE reading_window SET mean = mean * (1 + 1e-8)",
        "UPDATE reading_window SET m2 = m2 + 1",
        "DELETE FROM reading_window",
    ],
)
def test_a_stale_window_is_found(tables: Tables, rows: list[LedgerRow], change: str) -> None:
    machine_id = sound(rows).machine_id
    before = tables.admin.execute(
        "SELECT window_start FROM reading_window WHERE machine_id = %s AND sensor = 'pressure' AND count > 1 LIMIT 1",
        [machine_id],
    ).fetchone()
    tables.admin.execute(
        change + " WHERE machine_id = %s AND sensor = 'pressure' AND window_start = %s", [machine_id, before[0]]
    )

    found = tables.verify()

    assert_only(found, windows_wrong=1)
    assert found.examples == (f"wrong window {machine_id} pressure {before[0]:%Y-%m-%dT%H:%M:%SZ}",)


def test_means_may_differ_by_rounding(tables: Tables, rows: list[LedgerRow]) -> None:
    tables.admin.execute("UPDATE reading_window SET mean = mean * (1 + 1e-11), m2 = m2 * (1 - 1e-11)")

    assert_only(tables.verify())
    assert rows


def test_a_window_too_many_is_found_for_machines_and_for_partitions_of_the_ledger(tables: Tables) -> None:
    tables.store(tables.send([message(0)]))
    tables.move_marks(0, 1, 1)
    tables.store_window("press-00001", "humidity", 1, [1.0])
    tables.store_window("another-machine", "humidity", 1, [1.0])
    assert tables.verify().windows_wrong == 1

    tables.admin.execute("UPDATE reading_window SET source_id = 77")
    assert tables.verify().windows_wrong == 2


def test_anomalies_that_were_not_flagged_lower_the_recall_and_nothing_else(
    tables: Tables, rows: list[LedgerRow]
) -> None:
    truth = tables.verify().anomalies_true
    tables.admin.execute("DELETE FROM anomaly WHERE kind = 'dip'")
    spikes = sum(row.anomalies.count("spike") for row in accepted(rows))
    tables.store_anomaly(sound(rows), "noise", "spike")

    found = tables.verify()

    assert_only(found)
    assert (found.anomalies_true, found.anomalies_found, found.anomalies) == (truth, spikes, spikes + 1)
    assert 0 < spikes < truth


def test_latency_counts_from_the_brokers_time_to_the_commit(tables: Tables) -> None:
    sent = tables.send([message(0), message(1)])
    with tables.admin.transaction():
        now = tables.admin.execute("SELECT now()").fetchone()[0]
        for row in sent:
            tables.store_event(row, ingest_time=now - dt.timedelta(milliseconds=LATENCY_MS))
        tables.admin.execute("SELECT pg_sleep(0.1)")

    found = tables.verify()

    assert list(found.latency_ms) == ["p50", "p95", "p99", "max"]
    tracked = tables.admin.execute("SHOW track_commit_timestamp").fetchone() == ("on",)
    if tracked:
        assert LATENCY_MS + 100 <= found.latency_ms["p50"] <= found.latency_ms["max"]
        assert found.notes == ()
    else:
        assert found.latency_ms["max"] == pytest.approx(LATENCY_MS, abs=0.01)
        assert "track_commit_timestamp" in found.notes[0]


def test_of_nothing_stored_there_is_no_latency(tables: Tables) -> None:
    tables.send([message(0)])

    found = tables.verify()
    assert_only(found, lost=1)
    assert found.latency_ms is None


def test_verifying_leaves_nothing_behind_and_can_be_repeated(tables: Tables, rows: list[LedgerRow]) -> None:
    assert tables.verify() == tables.verify()
    left = tables.admin.execute("SELECT relname FROM pg_class WHERE relname IN ('ledger', 'verdict', 'stored')")
    assert left.fetchall() == []
    assert rows


def test_a_ledger_that_is_being_written_counts_up_to_its_last_complete_row(tables: Tables) -> None:
    tables.store(tables.send([message(0)]))
    with tables.ledger.open("ab") as file:
        file.write(b"telemetry.machine,0,1,0,sent,,press")

    assert_only(tables.verify())
    assert tables.verify().sent == 1
    assert list(ledger_ends(tables.ledger).values()) == [0]


def test_what_the_fold_and_the_sink_make_of_a_misbehaved_plant_holds(tables: Tables) -> None:
    records = list(Plant(PLANT))
    tables.send(records, partitions=1)
    fold_and_store(tables.dsn, records)

    found = tables.verify()

    assert_only(found)
    assert found.stored > 500
    assert found.windows > 100
    assert settled(ledger_ends(tables.ledger), tables.dsn, GROUP)


def fold_and_store(dsn: str, records: list[Sent]) -> None:
    """Run records through the real fold into the real sink, as one partition in uneven batches."""
    source, rules, state = SourcePartition(TOPIC, 0), FoldRules(), PartitionState()
    progress = Progress(Subscriber("local", GROUP, "w"), FOLD_VERSION)
    raw = [Record(n, r.due_ms, r.body, r.key, r.headers) for n, r in enumerate(records)]
    sink = Sink(lambda: connect(dsn), progress)
    with connect(dsn, autocommit=True) as leasing:
        owner = progress.acquire(leasing, source, 0, len(raw), None).owner
    marks, cuts = 0, [*range(0, len(raw), 97), len(raw)]
    for start, end in itertools.pairwise(cuts):
        effects = fold(state, RecordBatch(source, owner, start, end, raw[start:end]), rules, Marks())
        due = project(state, marks, end, rules.window)
        assert sink.store([UnitOfWork(source, owner, start, end, [effects], due)]) == {source}
        marks = end
    sink.close()


@pytest.mark.parametrize(
    ("marks", "records"),
    [([], 7), ([(0, 4, 4), (1, 3, 3)], 0), ([(0, 4, 2), (1, 3, 3)], 2), ([(0, 9, 9), (1, 0, 9)], 3), ([(0, 4, 4)], 3)],
)
def test_behind_counts_what_either_mark_still_has_to_pass(
    tables: Tables, marks: list[tuple[int, int, int]], records: int
) -> None:
    for mark in marks:
        tables.move_marks(*mark)
    tables.move_marks(0, 0, 0, topic="another.topic")
    ends = {(TOPIC, 0): 3, (TOPIC, 1): 2}

    assert behind(ends, tables.dsn, GROUP) == records
    assert settled(ends, tables.dsn, GROUP) == (records == 0)


def test_the_ends_of_a_ledger_are_its_highest_offsets(tables: Tables, rows: list[LedgerRow]) -> None:
    ends = ledger_ends(tables.ledger)

    assert ends == {(TOPIC, p): max(row.offset for row in rows if row.partition == p) for p in (0, 1)}


def test_the_ledgers_columns_are_the_simulators() -> None:
    assert verify_queries.COLUMNS.split(",") == list(ledgers.COLUMNS)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file"),
        ("", "has no rows"),
        (verify_queries.COLUMNS + "\n", "has no rows"),
        ("buy milk\n", "is not a ledger: its first line is not"),
        (verify_queries.COLUMNS + "\nt,0,0\n", "is not a ledger: "),
        (verify_queries.COLUMNS + "\nt,0,x,0,sent,,m,f,1,1,1,[],{}\n", "is not a ledger: "),
        (verify_queries.COLUMNS + '\nt,0,1,0,sent,,m,f,1,1,1,[],"{"\n', "is not a ledger: "),
        (verify_queries.COLUMNS + 2 * "\nt,0,1,0,sent,,m,f,1,1,1,[],{}" + "\n", "the same place twice"),
        (verify_queries.COLUMNS + "\nt,0,1", "has no rows"),
    ],
)
def test_what_is_no_ledger_is_one_line_with_its_path(tables: Tables, content: str | None, complaint: str) -> None:
    if content is not None:
        tables.ledger.write_text(content)

    with pytest.raises(SettingsError, match=complaint) as caught:
        tables.verify()

    assert str(tables.ledger) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_database_the_error_says_where_it_was_looked_for(tmp_path: Path, tables: Tables) -> None:
    tables.send([message(0)])

    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1/plant"):
        verify(tables.ledger, "postgresql://worker:secret@127.0.0.1:1/plant", group=GROUP)


def test_a_schema_without_tables_is_named(tables: Tables) -> None:
    tables.send([message(0)])

    with pytest.raises(SchemaOutdated, match="schema nowhere lacks tables"):
        verify(tables.ledger, tables.dsn, schema="nowhere", group=GROUP)
    with pytest.raises(SchemaOutdated, match="pipeline migrate"):
        behind({(TOPIC, 0): 0}, tables.dsn, GROUP, schema="nowhere")


def test_a_lock_that_is_not_given_is_an_unavailable_database(database, tables: Tables) -> None:
    tables.send([message(0)])
    dsn = make_conninfo(tables.dsn, options="-c statement_timeout=200")
    with connect(database.admin_dsn) as other:
        other.execute("LOCK TABLE event IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnavailable, match="does not compare: canceling statement"):
            verify(tables.ledger, dsn, group=GROUP)


def identity(row: LedgerRow) -> tuple:
    return (row.machine_id, row.event_time_ms, row.seq)


def place(row: LedgerRow) -> str:
    return f"{row.topic}:{row.partition}:{row.offset}:{row.index}"


def at(row: LedgerRow) -> str:
    return (
        f"WHERE source_topic = '{row.topic}' AND source_partition = {row.partition}"
        f" AND source_offset = {row.offset} AND source_index = {row.index}"
    )

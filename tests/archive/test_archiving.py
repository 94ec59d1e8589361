"""R39: events as Parquet files by factory and day, each once, whatever was stored when."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from psycopg import sql

from pipeline.archive import archiving, manifests, rows
from pipeline.archive.comparing import Comparison, Rows
from pipeline.archive.place import Place
from pipeline.archive.slices import Slicing, standings
from pipeline.archive.superseded import Superseded
from pipeline.archive.writing import Writer, alone
from pipeline.core.errors import ArchiveDamaged, ArchiveUnavailable, NotOwner, SettingsError
from pipeline.core.records import SourcePartition
from pipeline.store.connect import connect
from tests.archive.stored import DAY, SOURCE, Plant, archived_rows, message, minute

ODD = 'a/b=c "d" %20 ~ \N{SNOWMAN}\n'


def files(plant: Plant) -> dict[str, str]:
    root = Path(plant.place.address)
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*.parquet")
    }


def test_every_row_of_every_type_is_in_the_archive_as_it_was_stored(plant: Plant) -> None:
    odd = b' {"seq":70, ' + message(0, machine=ODD[:9], note='q"uo,te\\n', factory="f2")[1:].replace(b'"seq":0,', b"")
    array = b"[" + b",".join([message(80), b"null", b"1", message(81)]) + b"]"
    large = message(90, factory=ODD, note="x" * 900_000)
    plain = [message(n, at=minute(n * 30)) for n in range(60)]
    spike = [message(n + 100, at=minute(n), machine="s", value=9e9 if n == 50 else float(n % 5)) for n in range(51)]

    plant.store([*plain, array, b"garbage", odd, large, *spike, b"more garbage"])
    done = plant.archive()

    stored = plant.rows()
    assert len({row[1] for row in stored}) == 2
    assert plant.archived() == stored
    assert done.rows == len(stored) == sum(file.rows for _, m in manifests.load(plant.place) for file in m.files)
    assert {path.split("/")[1] for path in files(plant)} == {
        "factory=aurora",
        "factory=f2",
        "factory=a%2Fb%3Dc%20%22d%22%20%2520%20%7E%20%E2%98%83%0A",
    }


def test_a_run_adds_what_is_new_and_rewrites_nothing(plant: Plant) -> None:
    plant.store([message(n, at=minute(n)) for n in range(20)])
    plant.archive()
    before = files(plant)
    assert plant.archive().rows == 0
    assert files(plant) == before

    late = [message(100, at=minute(3)), message(101, at=DAY - dt.timedelta(days=2))]
    plant.store([*late, message(102, at=minute(30))])
    done = plant.archive()

    after = files(plant)
    assert done.rows == 3
    assert before.items() < after.items()
    assert Counter(path.split("/")[2] for path in after) == {"day=2026-09-21": 2, "day=2026-09-19": 1}
    assert plant.archived() == plant.rows()


def test_manifests_say_what_files_hold(plant: Plant) -> None:
    plant.store([message(n, factory=f"f{n % 3}", at=minute(800 - n * 100)) for n in range(40)])
    plant.archive()

    for _, manifest in manifests.load(plant.place):
        assert (manifest.kind, manifest.first, manifest.end) == ("slice", 0, 40)
        for file in manifest.files:
            content = plant.place.read(file.path)
            table = pq.read_table(Path(plant.place.address) / file.path, partitioning=None)
            assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
            assert set(table["factory_id"].to_pylist()) == {file.factory}
            assert {time.date() for time in table["event_time"].to_pylist()} == {file.day}
            places = list(zip(table["source_offset"].to_pylist(), table["source_index"].to_pylist(), strict=True))
            assert places == sorted(places)
            assert (file.offset_min, file.offset_max) == (places[0][0], places[-1][0])
            hours = Counter(time.hour for time in table["event_time"].to_pylist())
            assert {each.hour: each.rows for each in file.hours} == hours
            assert table.schema.names == rows.SCHEMA.names


def test_clusters_with_a_topic_of_the_same_name_do_not_meet(plant: Plant) -> None:
    plant.store([message(n) for n in range(10)])
    plant.store([message(n + 100) for n in range(7)], cluster="site-2")
    plant.archive()
    plant.store([message(n + 200) for n in range(3)])
    plant.archive()

    assert plant.archived() == plant.rows()
    found = {m.cluster: sum(file.rows for file in m.files) for _, m in manifests.load(plant.place) if m.first == 0}
    assert found == {"local": 10, "site-2": 7}
    assert plant.read() == plant.stored()
    assert plant.read("site-2") == plant.stored("site-2")


def test_two_groups_on_a_topic_are_archived_row_by_row(plant: Plant) -> None:
    plant.store([message(n) for n in range(10)])
    plant.archive()
    plant.store([message(n) for n in range(6)], group="another")
    plant.archive()
    assert len(plant.archived()) == 10
    plant.archive(compare=True)

    assert len(plant.rows()) == 16
    assert plant.archived() == plant.rows()
    assert plant.archive(compare=True).rows == 0
    assert plant.read() == plant.stored()


def test_a_recreated_topic_is_another_log_and_both_are_archived(plant: Plant) -> None:
    plant.store([message(n) for n in range(10)])
    plant.archive()
    plant.store([message(n + 10) for n in range(5)])
    plant.lose_log()
    plant.store([message(n + 100, at=minute(n)) for n in range(4)])
    plant.archive()

    # Five rows of the lost log were never in a slice, and none is asked for any more
    assert len(plant.archived()) == 14
    plant.archive(compare=True)
    assert plant.archived() == plant.rows()
    assert plant.archive(compare=True).rows == 0
    assert plant.read() == plant.stored()
    assert [event.offset for event in plant.read()] == [0, 1, 2, 3]


def test_a_promotion_comes_into_the_archive_with_what_it_superseded(plant: Plant) -> None:
    plant.store([message(n, at=minute(n)) for n in range(30)])
    plant.archive()
    plant.promote([row for row in plant.rows() if 10 <= row[11] < 20])
    done = plant.archive()

    assert (done.remainder_rows, done.promotions) == (10, 1)
    assert plant.archived() == plant.rows()
    assert len(Superseded.of(plant.place)) == 10
    assert plant.read() == plant.stored()
    assert len(plant.read()) == 30
    again = plant.archive()
    assert (again.rows, again.promotions, again.manifests) == (0, 0, 0)

    plant.admin.execute("DELETE FROM superseded_event")
    plant.archive()
    assert len(Superseded.of(plant.place)) == 0
    assert plant.read() == plant.stored()


def test_a_database_that_was_restored_does_not_double_what_is_archived(plant: Plant) -> None:
    plant.store([message(n, at=minute(n)) for n in range(20)])
    plant.archive()
    archived = plant.archived()
    plant.admin.execute("CREATE TEMPORARY TABLE later AS SELECT * FROM event WHERE source_offset >= 12")
    plant.admin.execute("DELETE FROM event WHERE source_offset >= 12")
    plant.admin.execute("UPDATE source_progress SET effects_next = 12, windows_next = 12")
    assert plant.archive(compare=True).rows == 0
    # What was lost is folded again: the same events with the same ids, stored at another time
    plant.admin.execute("UPDATE later SET stored_time = stored_time + interval '1 hour'")
    plant.admin.execute("INSERT INTO event SELECT * FROM later")
    plant.admin.execute("UPDATE source_progress SET effects_next = 20, windows_next = 20")
    assert plant.archive(compare=True).rows == 0

    assert len(plant.rows()) == 20
    assert plant.archived() == archived
    assert plant.read() == plant.stored()


def test_rows_that_no_message_accounts_for_come_into_the_archive_too(plant: Plant) -> None:
    plant.store([message(n) for n in range(3)])
    others = (
        "INSERT INTO event SELECT gen_random_uuid(), 'New Machine', 'machine', gen_random_uuid(), 'm', 'aurora',"
        " %s::timestamptz + n * interval '1 hour', now(), now(), 't', 3, n, 0, '{}' FROM generate_series(0, 30) AS n"
    )
    plant.admin.execute(others, [DAY])
    # Those of the second day are in the default partition, which is always compared
    assert plant.archive().rows == 3 + 7
    assert plant.archive(due_days=0).rows == 24
    assert plant.archived() == plant.rows()

    plant.admin.execute(others, [DAY])
    assert plant.archive(compare=True).rows == 31
    assert plant.archived() == plant.rows()


def test_slices_of_any_size_give_the_same_archive(plant: Plant) -> None:
    array = b"[" + b",".join(message(n + 500) for n in range(5)) + b"]"
    plant.store([b"garbage", *[message(n, at=minute(n)) for n in range(50)], array, b"x", b"y"])
    contents = manifests.load(plant.place)
    with connect(plant.dsn, autocommit=True) as guard, connect(plant.dsn, autocommit=True) as reading, alone(guard):
        slicing = Slicing(reading, plant.place, contents, Writer(guard, plant.place, contents), at_once=7)
        for standing in standings(guard):
            slicing.archive(standing)

    assert plant.archived() == plant.rows()
    (standing,) = standings(plant.leasing)
    assert contents.covered(standing.log) == [(0, 54)]
    assert sum(1 for _ in contents) == 9
    assert plant.read() == plant.stored()


@pytest.mark.parametrize("limit", [{"rows_at_once": 3}, {"bytes_at_once": 1}])
def test_a_batch_never_cuts_a_record_in_two(plant: Plant, limit: dict[str, int]) -> None:
    arrays = [b"[" + b",".join(message(n * 10 + at) for at in range(4)) + b"]" for n in range(5)]
    plant.store(arrays)

    tables = list(rows.batches(plant.leasing, "event", sql.SQL("true"), **limit))

    assert [set(table["source_offset"].to_pylist()) for table in tables] == [{n} for n in range(5)]
    assert [len(table) for table in tables] == [4] * 5


def test_a_log_that_begins_late_is_archived_from_where_it_begins(plant: Plant) -> None:
    plant.begin_at(10**12)
    plant.store([message(n) for n in range(5)])

    plant.archive()

    assert plant.archived() == plant.rows()
    assert [event.offset for event in plant.read()] == list(range(10**12, 10**12 + 5))


def test_what_a_killed_run_left_does_not_count_and_is_deleted(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.store([message(n, factory=f"f{n % 2}") for n in range(10)])

    def killed(self: Place, path: str, content: bytes) -> None:
        if path.startswith("manifest/"):
            raise KeyboardInterrupt
        write(self, path, content)

    write = Place.write
    with monkeypatch.context() as patch:
        patch.setattr(Place, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            plant.archive()
    assert (len(files(plant)), plant.archived(), plant.read()) == (2, [], [])

    # Another slice by now, so nothing is simply written over
    plant.store([message(11, factory="f1")])
    done = plant.archive()
    assert (done.cleaned, len(files(plant))) == (2, 2)
    assert plant.archived() == plant.rows()
    assert plant.place.files("pending") == []


def test_a_second_run_says_that_one_is_at_work(plant: Plant) -> None:
    plant.store([message(1)])
    with alone(plant.admin), pytest.raises(NotOwner, match="at work on this database already"):
        plant.archive()
    assert plant.archive().rows == 1


def test_an_archive_may_lie_anywhere_fsspec_has_an_address_for(plant: Plant) -> None:
    plant.store([message(n, factory=f"f{n % 2}") for n in range(10)])
    local = plant.archive()
    plant.place = Place(f"memory://archive-{id(plant)}")

    assert plant.archive().rows == local.rows
    assert plant.archive().rows == 0
    assert plant.read() == plant.stored()
    assert archiving.verify(plant.place) == (2, [])


@pytest.mark.parametrize(
    ("address", "said"),
    [("s3://bucket/x", "install factory-telemetry-pipeline[s3]"), ("abfs://c/x", "factory-telemetry-pipeline[azure]"),
     ("nowhere://x", "archive.address")],
)  # fmt: skip
def test_an_address_without_a_driver_is_one_line_that_says_what_to_install(address: str, said: str) -> None:
    with pytest.raises(SettingsError, match=r"archive\.address") as refused:
        Place(address)
    assert said in str(refused.value)


def test_a_place_that_cannot_be_written_is_named(plant: Plant, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    plant.place = Place(str(tmp_path / "file"))
    plant.store([message(1)])

    with pytest.raises(ArchiveUnavailable, match=str(tmp_path / "file")):
        plant.archive()


DAMAGE = {
    "cut": (lambda content: content[:-10], "is not what was written"),
    "changed": (lambda content: content.replace(b"P", b"Q", 1), "is not what was written"),
    "empty": (lambda _: b"", "is not what was written"),
    "gone": (None, "is not in the archive"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_found_and_named_and_can_be_archived_again(plant: Plant, damage: str) -> None:
    plant.store([message(n, factory=f"f{n % 2}") for n in range(10)])
    plant.archive()
    assert archiving.verify(plant.place) == (2, [])
    change, said = DAMAGE[damage]
    path = next(iter(files(plant)))
    whole = Path(plant.place.address) / path
    whole.write_bytes(change(whole.read_bytes())) if change else whole.unlink()

    count, wrong = archiving.verify(plant.place)
    assert (count, len(wrong), path in wrong[0], said in wrong[0]) == (2, 1, True, True)
    with pytest.raises(ArchiveDamaged, match=said) as refused:
        plant.read()
    assert path in str(refused.value)

    (manifest,) = plant.place.files("manifest")
    plant.place.delete(manifest)
    plant.archive()
    assert plant.archived() == plant.rows()
    assert plant.read() == plant.stored()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format":1}', b"\xff", b'{"format":"x"}'])
def test_a_manifest_that_cannot_be_read_is_named(plant: Plant, content: bytes) -> None:
    plant.store([message(1)])
    plant.archive()
    (path,) = plant.place.files("manifest")
    plant.place.write(path, content)

    with pytest.raises(ArchiveDamaged, match=path):
        plant.archive()


def test_a_damaged_file_holds_up_its_own_partition_alone(plant: Plant) -> None:
    other = SourcePartition("u", 0)
    for source in (SOURCE, other):
        plant.store([message(n) for n in range(10)], source)
    plant.archive()
    for source in (SOURCE, other):
        plant.store([message(n) for n in range(6)], source, group="another")
    path = next(path for path in files(plant) if "/t-3-" in path)
    whole = Path(plant.place.address) / path
    content = whole.read_bytes()
    whole.write_bytes(content[:-1] + b"?")

    done = plant.archive(compare=True)

    assert [path in line for line in done.damaged] == [True]
    assert done.rows == 6
    assert b"event_20260921" not in plant.place.read("compared.json")
    whole.write_bytes(content)
    mended = plant.archive(compare=True)
    assert (mended.rows, mended.damaged) == (6, ())
    assert plant.archived() == plant.rows()


def test_a_log_that_needs_a_damaged_file_waits_and_the_others_are_archived(plant: Plant) -> None:
    plant.admin.execute(
        "INSERT INTO event VALUES (gen_random_uuid(), 'New Machine', 'machine', gen_random_uuid(), 'm', 'aurora', %s, now(),"
        " now(), 't', 3, 5, 0, '{}')",
        [DAY],
    )
    assert plant.archive(compare=True).remainder_rows == 1
    plant.store([message(n) for n in range(10)])
    plant.store([message(n) for n in range(4)], SourcePartition("u", 0))
    (path,) = files(plant)
    whole = Path(plant.place.address) / path
    content = whole.read_bytes()
    whole.unlink()

    done = plant.archive()

    assert [path in line for line in done.damaged] == [True]
    assert done.rows == 4
    whole.write_bytes(content)
    assert plant.archive().rows == 10
    assert plant.archived() == plant.rows()


def test_what_was_found_equal_is_compared_again_only_when_something_changed(plant: Plant) -> None:
    plant.store([message(n, at=minute(n)) for n in range(10)])
    default = DAY - dt.timedelta(days=90)
    plant.store([message(n + 10, at=default) for n in range(4)])
    assert plant.archive(due_days=0).compared > 1
    assert plant.archive(due_days=0).compared == 0

    # Another group's rows, in the day's partition alone
    plant.store([message(n, at=minute(n)) for n in range(10)], group="another")
    changed = plant.archive(due_days=0)
    assert (changed.compared, changed.remainder_rows) == (1, 10)
    assert plant.archive(due_days=0).compared == 0

    plant.store([message(n + 20, at=default) for n in range(4)], group="another")
    changed = plant.archive(due_days=0)
    assert (changed.compared, changed.rows) == (1, 4)
    assert plant.archived() == plant.rows()


def test_what_was_found_equal_is_compared_again_when_the_archive_has_lost_it(plant: Plant) -> None:
    plant.store([message(n, at=minute(n)) for n in range(10)])
    plant.archive()
    plant.store([message(n, at=minute(n)) for n in range(10)], group="another")
    plant.archive(due_days=0)
    (remainder,) = plant.place.files("manifest/remainder")
    plant.place.delete(remainder)

    assert plant.archive(due_days=0).remainder_rows == 10

    assert plant.archived() == plant.rows()


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"partitions":{"event_20260921":1}}', b"\xff"])
def test_without_a_memory_everything_due_is_compared(plant: Plant, content: bytes | None) -> None:
    plant.store([message(n) for n in range(3)])
    first = plant.archive(due_days=0)
    if content is None:
        plant.place.delete("compared.json")
    else:
        plant.place.write("compared.json", content)

    assert plant.archive(due_days=0).compared == first.compared
    assert plant.archive(due_days=0).compared == 0


def test_only_hours_with_rows_of_more_than_one_log_are_compared_id_by_id(plant: Plant) -> None:
    plant.store([message(n, at=minute(n * 60)) for n in range(6)])
    plant.archive()
    plant.lose_log()
    plant.store([message(n, at=minute(n * 60)) for n in range(4, 10)])
    plant.archive()

    comparison = Comparison(plant.leasing, plant.place, manifests.load(plant.place))
    (of_hours,) = comparison.sums(Rows("event")).values()
    unequal = list(comparison.where_unequal(Rows("event")))

    begin = int(DAY.timestamp()) // 3600
    assert [hour - begin for hour, (_, sum_) in of_hours.items() if sum_ == -1] == [4, 5]
    assert sum(len(each.table) for each in unequal) == 4
    assert not any(each.lacking.any() for each in unequal)


def test_a_written_file_and_every_folder_above_it_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = set()
    sync = os.fsync

    def noted(opened: int) -> None:
        synced.add(Path(f"/proc/self/fd/{opened}").readlink())
        sync(opened)

    monkeypatch.setattr(os, "fsync", noted)
    (tmp_path / "there/archive/manifest").mkdir(parents=True)

    Place(str(tmp_path / "there/archive")).write("manifest/a/b/c.json", b"{}")
    root = tmp_path / "there/archive"
    assert {root, root / "manifest", root / "manifest/a", root / "manifest/a/b"} <= synced

    Place(str(tmp_path / "new/archive")).write("c.json", b"{}")
    assert {tmp_path, tmp_path / "new", tmp_path / "new/archive"} <= synced


def test_files_with_other_events_than_the_manifest_says_are_found(plant: Plant) -> None:
    plant.store([message(1), message(2)])
    plant.archive()
    ((path, manifest),) = manifests.load(plant.place)
    told = json.loads(plant.place.read(path))
    told["files"][0]["checksum"] = "0" * 16
    plant.place.write(path, json.dumps(told).encode())

    assert "has other events" in archiving.verify(plant.place)[1][0]
    assert manifest.files[0].rows == 2


def test_sources_of_many_names_keep_to_themselves(plant: Plant) -> None:
    sources = [SourcePartition(topic, n) for topic in ("remainder", "superseded", "x" * 200) for n in (0, 1)]
    for number, source in enumerate(sources):
        plant.store([message(number * 10 + n) for n in range(3)], source=source)
    plant.archive()

    assert archived_rows(plant.place.address) == plant.rows()
    assert plant.archive(compare=True).rows == 0
    for source in sources:
        assert plant.read(source=source) == plant.stored(source=source)

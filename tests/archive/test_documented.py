"""What docs/archive.md shows works as it stands there."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import duckdb
import msgspec
import psycopg
import pytest

from pipeline.archive.manifests import DataFile, Manifest
from tests.archive.stored import DAY, Plant, message, minute

TEXT = (Path(__file__).parents[2] / "docs/archive.md").read_text()
READ, SUPERSEDED, RESTORE = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def plant(plant: Plant) -> Plant:
    plant.store([message(n, factory=f"f{n % 2}", at=minute(n), value=float(n)) for n in range(20)])
    plant.store([b"garbage", message(30, factory="f/0", at=DAY - dt.timedelta(days=1))])
    plant.archive()
    return plant


def duck(plant: Plant) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect()
    database.execute(READ.replace("'archive'", f"'{plant.place.address}'", 1))
    return database


def test_duckdb_reads_it_by_its_manifests(plant: Plant) -> None:
    root = Path(plant.place.address)
    stray = root / "event/factory=f0/day=2026-09-21/of-a-killed-run.parquet"
    stray.write_bytes(next(root.rglob("*.parquet")).read_bytes())

    with duckdb.connect() as database:
        found = database.execute(READ.replace("'archive'", f"'{root}'", 1)).fetchall()

    day, before = DAY.date(), DAY.date() - dt.timedelta(days=1)
    assert [(*row[:4], round(row[4], 6)) for row in found] == [
        ("f/0", before, "Telemetry Ingest", 1, 2.0),
        ("f0", day, "Telemetry Ingest", 10, 9.0),
        ("f1", day, "Telemetry Ingest", 10, 10.0),
    ]


def test_duckdb_leaves_out_what_a_promotion_superseded(plant: Plant) -> None:
    plant.promote([row for row in plant.rows() if 5 <= row[11] < 10])
    plant.archive()

    with duck(plant) as database:
        assert database.execute("SELECT count(*) FROM event").fetchone() == (26,)
        assert database.execute(SUPERSEDED).fetchone() == (21,)


def test_a_day_is_restored_as_it_was(plant: Plant, tmp_path: Path) -> None:
    before = plant.rows()
    plant.admin.execute("DROP TABLE event_20260921")
    with duck(plant) as database:
        database.execute(RESTORE.replace("day.csv", str(tmp_path / "day.csv")))
    made, copied = re.findall(r'psql -c "(.*)"', TEXT)
    plant.admin.execute(made)
    with psycopg.connect(plant.admin_dsn) as connection, connection.cursor() as cursor:
        statement = copied.removeprefix("\\copy").replace("FROM 'day.csv'", "FROM STDIN")
        with cursor.copy(f"COPY {statement}") as copy:
            copy.write((tmp_path / "day.csv").read_bytes())

    assert plant.rows() == before


@pytest.mark.parametrize("kind", [Manifest, DataFile])
def test_every_field_of_a_manifest_is_documented(kind: type[msgspec.Struct]) -> None:
    section = TEXT.partition("### A manifest")[2].partition("## Reading it")[0]

    missing = [
        field.encode_name for field in msgspec.structs.fields(kind)
        if not re.search(rf"`(files\[\]\.)?{field.encode_name}`", section)
    ]  # fmt: skip
    assert missing == []

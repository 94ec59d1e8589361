"""R74: the demo runs everything, ends by itself, and says in its last line what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.broker import topics
from pipeline.broker.security import BrokerSecurity
from pipeline.demo.run import DATABASE

KEYS = {"sent", "stored", "lost", "doubled", "device_duplicates", "dead_letters", "anomalies", "windows", "latency_ms"}


def test_the_demo_ends_by_itself_with_nothing_lost_or_doubled(
    tmp_path: Path, broker_address: str, postgres_dsn: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")} | {
        "PIPELINE_BROKER__ADDRESS": broker_address,
        "PIPELINE_POSTGRES__ADMIN_DSN": postgres_dsn,
    }
    inputs = [
        f"--plant={each}" for each in ("pump_share=0.1", "quality_interval_ms=5000", "maintenance_interval_ms=9000")
    ]
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "demo",
        "--for=10",
        "--machines=60",
        "--rate=600",
        "--folder=here",
        *inputs,
    ]

    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report.keys() >= KEYS
    assert report["latency_ms"].keys() == {"p50", "p95", "p99", "max"}
    assert (report["lost"], report["doubled"]) == (0, 0)
    for key in ("stored", "device_duplicates", "dead_letters", "anomalies", "windows"):
        assert report[key] > 0, key
    assert "psql" in done.stderr
    with psycopg.connect(make_conninfo(postgres_dsn, dbname=DATABASE)) as connection:
        for view in ("quality_report", "maintenance_record", "pump_state"):
            (rows,) = connection.execute(f"SELECT count(*) FROM dashboard.{view}").fetchone()
            assert rows > 5, view
    # What it says is to be pasted into another terminal
    exports = [line for line in done.stderr.splitlines() if line.startswith("export ")]
    assert any("WATERMARK_DELAY_MS" in line for line in exports), "by the rules of its workers"
    bare = {name: value for name, value in environment.items() if not name.startswith("PIPELINE_")}
    for words, code in (("models list --json", 0), ("models retire 1", 1)):
        used = subprocess.run(
            ["sh", "-c", "\n".join([*exports, f"python -m pipeline {words}"])],
            env=bare | {"PGPASSWORD": conninfo_to_dict(postgres_dsn).get("password", "")},
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert used.returncode == code, used.stderr
    assert "there is no model 1" in used.stderr, "by the database's owner, whose password is not shown"
    assert not any(topic.name.startswith("demo-") for topic in topics.list_topics(broker_address, BrokerSecurity()))


def test_a_demo_whose_database_is_away_says_so_and_ends(broker_address: str, tmp_path: Path) -> None:
    away = {"PIPELINE_BROKER__ADDRESS": broker_address, "PIPELINE_POSTGRES__ADMIN_DSN": "postgresql://x@127.0.0.1:1/db"}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "demo", "--for", "1", "--folder", str(tmp_path)],
        env=os.environ | away, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 69, done.stderr
    assert "127.0.0.1:1/db gives no connection" in done.stderr.splitlines()[-1]


def test_a_demo_leaves_the_database_of_another_one_alone(
    postgres_dsn: str, broker_address: str, tmp_path: Path
) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {DATABASE}")
    try:
        with psycopg.connect(make_conninfo(postgres_dsn, dbname=DATABASE), autocommit=True) as another:
            variables = {"PIPELINE_BROKER__ADDRESS": broker_address, "PIPELINE_POSTGRES__ADMIN_DSN": postgres_dsn}
            done = subprocess.run(
                [sys.executable, "-m", "pipeline", "demo", "--for", "1", "--folder", str(tmp_path)],
                env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 78, done.stderr
            assert "the database pipeline_demo is in use" in done.stderr.strip().splitlines()[-1]
            assert another.execute("SELECT 1").fetchone() == (1,)
    finally:
        with psycopg.connect(postgres_dsn, autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")

"""`pipeline web`: a process of its own that answers, ends when it is told to, and starts only where it may."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.features import FEATURE_VERSION
from pipeline.core.prognosis.kinds import KNOWN
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.core.prognosis.trees import tree_of
from pipeline.store import model_stages, models
from pipeline.store.connect import connect
from pipeline.store.models import Candidate, Group
from pipeline.web import serving

TOKEN = "sixteen-and-more-signs"
ROOT = Path(__file__).parents[2]


@contextmanager
def web(folder: Path, dsn: str, **settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process, and the address where it answers; empty: it ended before."""
    plain = {name: value for name, value in os.environ.items() if not name.upper().startswith("PIPELINE_")}
    mine = {"POSTGRES__DSN": dsn, "WEB__ADDRESS": "127.0.0.1:0", "LOG__FORMAT": "json"} | settings
    variables = plain | {"PYTHONPATH": str(ROOT)} | {f"PIPELINE_{name}": value for name, value in mine.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "web"], cwd=folder, env=variables, stderr=subprocess.PIPE, text=True
    )
    try:
        address = ""
        for line in process.stderr or ():
            if '"web.listening"' in line:
                address = json.loads(line)["address"]
                break
            sys.stderr.write(line)
        yield process, address
    finally:
        process.kill()
        process.communicate()


def promote(dsn: str, answer: int) -> None:
    """Let a model be live for presses that says one class of everything."""
    shares = np.full((1, 6), 0.1)
    shares[0, answer] = 0.5
    tree = tree_of(np.array([-1]), np.zeros(1), np.zeros(1, np.int64), shares)
    artefact = artefacts.encode(MaintenanceClassModel(["pressure"], tree), FEATURE_VERSION)
    group = Group("local", "pipeline")
    with connect(dsn, autocommit=True) as connection:
        version, _ = models.add(connection, group, Candidate("press", artefact), KNOWN)
        model_stages.promote(connection, group, version.model_id, KNOWN)


def test_the_command_answers_over_http_until_it_is_told_to_stop(database, tmp_path: Path) -> None:
    promote(database.admin_dsn, 4)
    with web(tmp_path, database.dsn, WEB__TOKEN=TOKEN) as (process, address):
        with httpx.Client(base_url=f"http://{address}") as client:
            assert client.get("/livez").json() == {"ok": True}
            assert client.get("/v1/models").status_code == 401
            client.headers["Authorization"] = f"Bearer {TOKEN}"
            (model,) = client.get("/v1/models").json()["models"]
            assert (model["kind"], model["machine_type"], model["version"]) == ("maintenance_class", "press", 1)
            body = {"machine_type": "press", "rows": [{"pressure": 1}]}
            asked = client.post("/v1/predictions/maintenance_class", json=body)
            assert (asked.status_code, asked.json()["model"]["sha256"]) == (200, model["sha256"])
            assert asked.json()["predictions"] == [{"label": "4", "value": 0.5, "lower": 0.5, "upper": 0.5}]
            assert "server" not in asked.headers
        process.send_signal(signal.SIGTERM)

        assert process.wait(20) == 0


def test_without_the_tables_it_does_not_start(postgres_dsn: str, tmp_path: Path) -> None:
    with web(tmp_path, postgres_dsn) as (process, address):
        assert address == ""
        assert process.wait(20) == 65


@pytest.mark.parametrize(
    ("address", "token", "says"),
    [
        ("0.0.0.0:0", "", "can be reached from other hosts: set web.token"),
        ("[::]:0", "", "can be reached from other hosts"),
        ("plant.example:0", "", "can be reached from other hosts"),
        ("127.0.0.1:0", "short", "web.token is too short"),
        ("127.0.0.1:0", "sixteen and more with blanks", "has blanks"),
        ("127.0.0.1:99999", "", "nothing can listen at 127.0.0.1:99999"),
        ("192.0.2.7:0", TOKEN, "nothing can listen at 192.0.2.7:0"),
    ],
)
def test_where_it_may_not_listen_one_line_says_why(address: str, token: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        serving.listen(address, token)


def test_a_port_that_is_taken_is_told_with_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"at 127.0.0.1:{port}; correct web.address: Address already in use$"):
            serving.listen(f"127.0.0.1:{port}", "")


def test_with_a_token_it_may_listen_everywhere() -> None:
    with serving.listen("0.0.0.0:0", TOKEN) as listening:
        assert listening.getsockname()[1] > 0

"""The demo's words (R74): why it does not hold, how to use it from elsewhere, and a line that stays one."""

from __future__ import annotations

import io
import os
import shlex
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commanding import Order, send
from pipeline.core.errors import SettingsError
from pipeline.demo import run as demo
from pipeline.demo.site import Site
from pipeline.demo.summary import Summary
from pipeline.settings import load
from tests.conftest import Database


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("PIPELINE_")]:
        monkeypatch.delenv(name)


def test_what_does_not_hold_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = {"holds": False, "lost": 0, "doubled": 2, "unexpected": 277, "unreadable": None}
    monkeypatch.setattr(demo, "run", lambda _: demo.Report(summary, holds=False))

    done = CliRunner().invoke(app, ["demo"])

    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "does not hold: 2 events that are stored twice",
        "does not hold: 277 messages that the plant did not send",
    ]
    assert done.stdout.startswith('{"holds":false')


def test_commands_on_metadata_go_where_its_workers_read(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site("broker:9092", "host=h", "host=h", "host=h", prefix="demo-1.", group="demo-1", has_own_server=True)
    for line in site.exports():
        (_, word) = shlex.split(line)
        name, _, value = word.partition("=")
        if name.startswith("PIPELINE_"):
            monkeypatch.setenv(name, value)

    settings = load()

    assert settings.source_topics == [settings.command_topic] == ["demo-1.telemetry.machine"]


@pytest.mark.parametrize(("prefix", "said"), [("", ""), ("demo-1.", "; demo-1. is put before every topic")])
def test_topics_are_named_as_settings_have_them(monkeypatch: pytest.MonkeyPatch, prefix: str, said: str) -> None:
    monkeypatch.setenv("PIPELINE_BROKER__TOPIC_PREFIX", prefix)

    with pytest.raises(SettingsError) as refused:
        send(load(), "machine", [Order(0, "m", "add", 0, {})], 0)

    assert str(refused.value) == (
        "broker.command_topic is metadata.command, which no worker reads: add it to broker.topics, or name one of"
        f" telemetry.machine{said}"
    )


def test_where_nobody_watches_how_it_stands_is_one_line(database: Database) -> None:
    out = io.StringIO()
    with Summary(database.admin_dsn, "g", Console(file=out, width=40)).live() as show:
        show()

    assert out.getvalue().startswith("stored 0 records")
    assert out.getvalue().endswith("p99 0 ms\n")
    assert out.getvalue().count("\n") == 1

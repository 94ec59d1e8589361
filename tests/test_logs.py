"""Logs: one line per fact on standard error, in one form whoever writes it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

LINES = """
import logging, warnings
import structlog
from pipeline import logs
logs.configure({level!r}, {form!r})
log = structlog.get_logger("pipeline.test")
log.debug("our.detail")
log.info("our.fact", machine="press-1", count=3)
logging.getLogger("faust.worker").info("chatter")
logging.getLogger("faust.worker").warning("[^%s]: %d", "Worker", 7)
logging.getLogger("somebody.else").info("foreign", extra={{"size": 9}})
warnings.warn("old habit", DeprecationWarning, stacklevel=1)
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("aiokafka").exception("it broke\\nin two lines")
    log.error("our.failure", exc_info=True)
print("result")
"""


def test_json_is_one_object_a_line_for_libraries_too() -> None:
    out, err = _said("info", "json")
    lines = [json.loads(line) for line in err.splitlines()]
    by_event = {line["event"]: line for line in lines}

    assert out == "result\n"
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
    assert by_event["our.fact"] | {"machine": "press-1", "count": 3, "level": "info"} == by_event["our.fact"]
    assert by_event["[^Worker]: 7"]["level"] == "warning"
    assert by_event["foreign"]["size"] == 9
    assert "ZeroDivisionError" in by_event["it broke\nin two lines"]["exception"]
    assert "ZeroDivisionError" in by_event["our.failure"]["exception"]
    assert "chatter" not in by_event
    assert "our.detail" not in by_event


def test_warnings_of_python_are_lines_like_all_others() -> None:
    _, err = _said("info", "json", "-Wdefault")
    warning = next(json.loads(line) for line in err.splitlines() if "old habit" in line)

    assert warning["level"] == "warning"


def test_the_console_form_is_for_people() -> None:
    out, err = _said("debug", "console")

    assert out == "result\n"
    assert "our.detail" in err
    assert "our.fact" in err
    assert "press-1" in err
    assert "chatter" not in err
    assert not any(line.startswith("{") for line in err.splitlines())


def test_piped_the_form_is_json_when_nothing_is_said() -> None:
    _, err = _said("error", "auto")

    assert [json.loads(line)["event"] for line in err.splitlines()] == ["it broke\nin two lines", "our.failure"]


def test_configuring_twice_writes_no_line_twice() -> None:
    code = "import logging\nfrom pipeline import logs\nlogs.configure()\nlogs.configure()\nlogging.error('once')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stderr.count("once") == 1


def _said(level: str, form: str, *options: str) -> tuple[str, str]:
    assert logging.getLevelName(level.upper())
    done = subprocess.run(
        [sys.executable, *options, "-c", LINES.format(level=level, form=form)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout, done.stderr

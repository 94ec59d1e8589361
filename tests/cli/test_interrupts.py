"""R74: who tells a command to stop is heard wherever the command is."""

from __future__ import annotations

import subprocess
import sys

import pytest

_IN_A_CALLBACK = """
import ctypes, os, sys, time
from pipeline import cli
from pipeline.cli import interrupts

interrupts._AGAIN_S = {again_s}

def callback():
    os.kill(os.getpid(), {number})
    for _ in range(1000):
        pass

def command(*_, **__):
    {handlers}
    ctypes.CFUNCTYPE(None)(callback)()
    time.sleep(30)

cli.app = command
cli.main()
"""


@pytest.mark.parametrize("again_s", [0.02, 0.0], ids=["after it", "at once"])
@pytest.mark.parametrize(
    ("handlers", "number", "code"),
    [
        ("interrupts.end_on_signals()", "signal.SIGTERM", 130),
        ("interrupts.end_on_signals()", "signal.SIGINT", 130),
        ("interrupts.exit_on_signals()", "signal.SIGTERM", 0),
        ("interrupts.exit_on_signals()", "signal.SIGINT", 130),
        ("signal.signal(signal.SIGINT, signal.default_int_handler)", "signal.SIGINT", 130),
    ],
    ids=["a command, TERM", "a command, Ctrl-C", "a service, TERM", "a service, Ctrl-C", "Python's own, Ctrl-C"],
)
def test_a_signal_that_comes_where_nothing_can_be_raised_ends_a_command_all_the_same(
    handlers: str, number: str, code: int, again_s: float
) -> None:
    program = "import signal\n" + _IN_A_CALLBACK.format(handlers=handlers, number=number, again_s=again_s)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)

    assert (done.returncode, done.stderr) == (code, "")


def test_what_else_cannot_be_raised_is_still_shown() -> None:
    program = """
from pipeline import cli

class Fragile:
    def __del__(self):
        raise ValueError("at its end")

def command(*_, **__):
    Fragile()

cli.app = command
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == 0
    assert "ValueError: at its end" in done.stderr

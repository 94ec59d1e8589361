"""Processes that start a service and wait, for tests that kill them: what becomes of what they leave behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline.processes import command_line


def parent(script: str, folder: Path) -> subprocess.Popen[str]:
    """Start a script that begins its output with a line about its service; its argument is the service's folder."""
    return subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)


def said(started: subprocess.Popen[str]) -> list[str]:
    """Return the words of its next line."""
    assert started.stdout is not None
    return started.stdout.readline().split()


def child_named(pid: int, name: str) -> int:
    """Return which child of a process has a word in its command line."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(child) for child in children if name in command_line(int(child)))

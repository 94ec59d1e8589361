"""Services that run as child processes, on ports of their own."""

from __future__ import annotations

import socket
from itertools import count

import pytest

from pipeline import processes
from pipeline.processes import free_ports, is_free


def test_ports_asked_for_together_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    start = next(port for port in count(20_000) if all(map(is_free, range(port, port + 4))))
    monkeypatch.setattr(processes, "_PORTS", range(start, start + 4))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", start + 1))
        taken.listen()

        assert sorted(free_ports(3)) == [start, start + 2, start + 3]

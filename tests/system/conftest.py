"""A server of forks of the command line, for tests that start and kill many of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.forks import Forks


@pytest.fixture(scope="session")
def commands() -> Iterator[Forks]:
    """A server that forks processes which have imported the command line."""
    server = Forks("tests.system.commands:prepare")
    yield server
    server.close()

"""The server of forks that the tests of crash points share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.forks import Forks


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Workers that begin at once."""
    server = Forks("tests.crash.worker:prepare")
    yield server
    server.close()

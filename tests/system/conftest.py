"""Fixtures of the system tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.processes import Site


@pytest.fixture
def site(tmp_path: Path, broker_address: str, database, topic) -> Iterator[Callable[..., Site]]:
    """Return a function that makes a site with topics of its own; its processes end with the test."""
    made: list[Site] = []

    def make(topics: int = 1, partitions: int = 4, settings: dict[str, object] | None = None) -> Site:
        names = [topic(partitions=partitions) for _ in range(topics)]
        made.append(Site(tmp_path, broker_address, database.dsn, names, settings))
        return made[-1]

    yield make
    for each in made:
        each.end()

"""Fixtures of the tests of tables and views."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.store.connect import Connection, connect
from pipeline.store.sink import Sink
from tests.store.leasing import PROGRESS


@pytest.fixture
def connection(database) -> Iterator[Connection]:
    """A worker's, that waits for a lock 1 s."""
    with connect(database.dsn, autocommit=True, lock_timeout_s=1) as opened:
        yield opened


@pytest.fixture
def engineer(admin: Connection) -> Connection:
    """A connection of somebody who may change models, and nothing else."""
    admin.execute("SET ROLE pipeline_engineer")
    return admin


@pytest.fixture
def sink(database) -> Iterator[Sink]:
    made = Sink(lambda: connect(database.dsn), PROGRESS)
    yield made
    made.close()

"""Fixtures of the tests of verify."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.ledger import LedgerRow
from simulator.plant import Plant
from tests.verify.tables import PLANT, Tables


@pytest.fixture
def tables(database, tmp_path: Path) -> Iterator[Tables]:
    made = Tables(database.admin_dsn, database.dsn, tmp_path)
    with made.admin:
        yield made


@pytest.fixture
def rows(tables: Tables) -> list[LedgerRow]:
    """The rows of a misbehaved plant's ledger; the tables are as they should be."""
    sent = tables.send(list(Plant(PLANT)))
    tables.store(sent)
    return sent

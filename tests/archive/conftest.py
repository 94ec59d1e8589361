from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archive.stored import Plant


@pytest.fixture
def plant(database, tmp_path: Path) -> Iterator[Plant]:
    made = Plant(database.dsn, database.admin_dsn, str(tmp_path / "archive"))
    made.make_day()
    yield made
    made.close()

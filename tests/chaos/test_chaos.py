"""R82: every kind of fault at least once over a running site, and no table differs from the ledger.

`make chaos` does the same for as long as one likes, with other seeds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.disk import can_mount
from tests.chaos.faults import KINDS
from tests.chaos.figures import table
from tests.chaos.report import Options, by_kind
from tests.chaos.run import Run

# Making a file system, to fill it up, is root's right
POSSIBLE = set(KINDS) if can_mount() else set(KINDS) - {"database_disk_full"}


@pytest.mark.timeout(600)
def test_every_kind_of_fault_leaves_every_message_once_and_every_table_right(tmp_path: Path) -> None:
    options = Options(seed=1, seconds=0, faults=len(POSSIBLE), rate=1_000, machines=200, calm=0.2, disk_gb=4)

    report = Run(options, tmp_path / "run").go()

    print(table(report))
    assert report.trouble == []
    assert set(by_kind(report.faults)) == POSSIBLE
    assert report.comparison is not None
    assert min(compared.rows for compared in report.comparison.tables.values()) > 100
    assert report.comparison.messages > 100_000

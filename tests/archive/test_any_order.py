"""R38, R39: whatever is stored, lost, promoted, archived and dropped in whatever order, each row is archived once."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline.core.records import SourcePartition
from tests.archive.stored import DAY, Plant, Row, message
from tests.archive.test_retention import retain

SOURCES = [("local", SourcePartition("t", 3)), ("local", SourcePartition("u", 0)), ("site-2", SourcePartition("t", 3))]
STEPS = 25


class Course:
    """One course of events by seed, and all rows there ever were."""

    def __init__(self, plant: Plant, seed: int) -> None:
        self.plant, self.chance = plant, random.Random(seed)
        self.ever: set[Row] = set()
        self._number = 0

    def step(self) -> None:
        steps = [self.store] * 6 + [self.archive] * 3 + [self.lose, self.promote, self.add, self.retain]
        self.chance.choice(steps)()
        self.ever |= set(self.plant.rows())

    def store(self) -> None:
        cluster, source = self.chance.choice(SOURCES)
        bodies = []
        for _ in range(self.chance.randrange(1, 8)):
            self._number += 1
            at = DAY + dt.timedelta(hours=self.chance.randrange(-60, 14))
            some = [
                message(self._number * 10 + n, factory=f"f{n % 2}", at=at) for n in range(self.chance.randrange(1, 4))
            ]
            bodies.append(b"garbage" if self.chance.random() < 0.1 else b"[" + b",".join(some) + b"]")
        self.plant.store(bodies, source, cluster)

    def archive(self) -> None:
        self.plant.archive(compare=self.chance.random() < 0.2)

    def lose(self) -> None:
        cluster, source = self.chance.choice(SOURCES)
        if self.plant.has_stored(source, cluster):
            self.plant.lose_log(source, cluster)

    def promote(self) -> None:
        """What a replay found, of events that may have left the database since."""
        rows = sorted(set(self.plant.rows()) | set(self.plant.archived()), key=str)
        self.plant.promote(self.chance.sample(rows, min(len(rows), 4)))

    def add(self) -> None:
        self.plant.admin.execute(
            "INSERT INTO event SELECT gen_random_uuid(), 'New Machine', 'machine', gen_random_uuid(), 'm', 'f0', %s, now(),"
            " now(), 't', 3, 1, 0, '{}'",
            [DAY + dt.timedelta(hours=self.chance.randrange(-60, 14))],
        )

    def retain(self) -> None:
        retain(self.plant, before=DAY + dt.timedelta(days=self.chance.randrange(-2, 1)))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(8))
def test_every_row_is_archived_once_whatever_happened(
    new_database: Callable[[], AbstractContextManager], tmp_path: Path, seed: int
) -> None:
    with new_database() as database:
        plant = Plant(database.dsn, database.admin_dsn, str(tmp_path / "archive"))
        plant.make_day(DAY - dt.timedelta(days=2), days=3)
        course = Course(plant, seed)
        for _ in range(STEPS):
            course.step()
        plant.archive(compare=True)

        archived = plant.archived()
        assert len(archived) == len(set(archived))
        assert set(archived) == course.ever
        assert plant.archive(compare=True).rows == 0
        assert all(each.dropped for each in retain(plant))
        assert plant.rows() == []
        plant.close()

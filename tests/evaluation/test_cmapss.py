"""The protocol by which remaining life is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from benchmarks.evaluation import cmapss
from pipeline.modelling.cmapss_files import RunFile
from pipeline.modelling.fleets import Life
from pipeline.modelling.remaining_life import Learned
from tests.modelling.degrading import SENSORS, lives


def test_every_engine_is_told_once_by_a_model_that_has_not_seen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = RunFile(SENSORS, tuple(lives(10)))
    seen: list[set[str]] = []
    asked: list[str] = []
    learned: Callable[..., Learned] = cmapss.learned
    told: Callable[..., Any] = cmapss.told

    def noted(part: RunFile, *others: Any) -> Learned:
        seen.append({life.unit for life in part.lives})
        return learned(part, *others)

    def asking(best: Learned, units: Sequence[Life], sensors: Sequence[str]) -> Any:
        names = [life.unit for life in units]
        assert seen[-1].isdisjoint(names)
        asked.extend(names)
        return told(best, units, sensors)

    monkeypatch.setattr(cmapss, "learned", noted)
    monkeypatch.setattr(cmapss, "told", asking)
    found = cmapss.held_out(fleet, (), seed=0)

    assert sorted(asked) == sorted(life.unit for life in fleet.lives)
    assert found.rows.rmse_capped > 0.0

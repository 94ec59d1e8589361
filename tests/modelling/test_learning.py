"""Learning of lives, and judging by others, where cycles lack features or failures are few or of a kind nobody taught (R33)."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.errors import PipelineError
from pipeline.modelling import learning
from pipeline.modelling.classed import Classed
from pipeline.modelling.labelled import LabelledLife
from pipeline.modelling.stored_lives import nothing_classed

SENSORS = ("heat",)


def life(kind: str, number: int, failed: str | None, cycles: int = 30, heat: float = 0.0) -> LabelledLife:
    """Return a life of hours in which every feature is as hot as the machine is old."""
    hours = np.arange(1.0, cycles + 1)
    width = len(learning.wanted_features(kind, SENSORS))
    rows = np.repeat((hours - cycles + heat).reshape(-1, 1), width, axis=1)
    ends_ms = (hours * 3_600_000).astype(np.int64) + number
    return LabelledLife(f"m{number}", int(ends_ms[-1]), failed, ends_ms, rows, hours)


def modes(*failed: str | None) -> list[LabelledLife]:
    return [life("failure_type", number, each) for number, each in enumerate(failed)]


@pytest.mark.parametrize("failures", [0, 1])
def test_fewer_than_two_failures_teach_nothing(failures: int) -> None:
    for kind, learn in (("remaining_life", learning.remaining_life), ("failure_type", learning.failure_type)):
        lives = [life(kind, number, "seal" if number < failures else None) for number in range(5)]
        arguments = (None, 0) if kind == "remaining_life" else (None,)
        with pytest.raises(
            PipelineError, match=f"^{failures} lives of the machines that teach ended in failure, 2 are"
        ):
            learn(lives, SENSORS, *arguments)


def test_cycles_without_features_teach_nothing() -> None:
    blind = [each._replace(rows=np.full_like(each.rows, np.nan)) for each in modes("seal", "seal", "seal")]
    with pytest.raises(PipelineError, match="has all features"):
        learning.failure_type(blind, SENSORS, None)
    lives = [life("remaining_life", number, "seal") for number in range(4)]
    with pytest.raises(PipelineError, match="fewer than two machines have failed"):
        learning.remaining_life(
            [each._replace(rows=np.full_like(each.rows, np.nan)) for each in lives], SENSORS, None, 0
        )


def test_a_cycle_without_features_among_others_is_passed_over_and_counted() -> None:
    lives = modes(*["seal", None] * 5)
    lives[3].rows[5:8] = np.nan, np.nan, np.nan
    lives[5].rows[4] = 1e300
    learned = learning.failure_type(lives, SENSORS, None)
    judged = learning.judged(learned.model, lives, range(lives[0].rows.shape[1]), nothing_classed())

    assert judged["unanswered"] == 3
    assert learned.parameters["horizon_cycles"] == 7
    assert np.isfinite(judged["accuracy"])


def test_a_mode_that_nobody_taught_is_judged_where_it_is_far_off_alone() -> None:
    learned = learning.failure_type(modes("seal", "seal", "governor"), SENSORS, 3)
    judged = learning.judged(learned.model, modes("bearing"), range(3), nothing_classed())

    # Of 30 cycles neither the last, in which it failed, nor the three before are labelled
    assert learned.parameters["modes"] == ["governor", "seal"]
    assert judged["rows"] == 26


def test_the_horizon_is_the_median_life_unless_somebody_says_another() -> None:
    lives = [life("remaining_life", number, "seal", cycles) for number, cycles in enumerate((20, 30, 60))]

    assert learning.remaining_life(lives, SENSORS, None, 0).parameters["horizon_h"] == 30.0
    learned = learning.remaining_life(lives, SENSORS, 12.0, 0)
    columns = [learning.wanted_features("remaining_life", SENSORS).index(each) for each in learned.model.features]
    judged = learning.judged(learned.model, lives, columns, nothing_classed())
    assert judged["rows"] == 110
    assert judged["rmse"] < judged["rmse_of_constant"]


def test_nothing_to_judge_by_is_no_row() -> None:
    learned = learning.failure_type(modes("seal", "seal"), SENSORS, None)
    lives = [life("remaining_life", number, "seal") for number in range(3)]
    remaining = learning.remaining_life(lives, SENSORS, None, 0)

    assert learning.judged(learned.model, [], range(3), nothing_classed()) == {"rows": 0}
    assert learning.judged(remaining.model, modes(None), range(5), nothing_classed()) == {"rows": 0}


def test_messages_that_lack_a_sensor_teach_no_class() -> None:
    rows = np.arange(40.0).reshape(20, 2)
    messages = Classed([f"m{n}" for n in range(20)], rows, np.arange(20) // 10)
    assert learning.maintenance_class(messages, ("a", "b")).prequential["rows"] == 4

    rows[3:8, 1] = np.nan
    with pytest.raises(PipelineError, match=r"^15 messages with all of a, b have a class, 16 are needed"):
        learning.maintenance_class(messages, ("a", "b"))
    wide = Classed(["m"] * 16, np.zeros((16, 9)), np.zeros(16, np.int64))
    with pytest.raises(PipelineError, match="--sensors"):
        learning.maintenance_class(wide, tuple("abcdefghi"))

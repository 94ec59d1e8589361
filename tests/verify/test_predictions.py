"""Predictions are of the models that control records say were in force at their place (R30), by those records alone."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from pipeline.verifying.verify import Bounds, Verification, verify
from tests.verify.tables import GROUP, TOPIC, Tables, message

AT = dt.datetime(2027, 1, 15, 8, tzinfo=dt.UTC)
TICK = 2**30


@pytest.fixture
def plant(tables: Tables) -> Tables:
    """A partition that was read to offset 100: model 7 is live from 10 on, 8 in the shadow from 20, live from 50.

    The control records are the first, second and fourth that it applied; the third was no word on models.
    """
    tables.store(tables.send([message(0)]))
    tables.move_marks(0, 100, 100)
    for number, (action, model_id, offset, ordinal) in enumerate(
        [("live", 7, 10, 0), ("shadow", 8, 20, 1), ("live", 8, 50, 3)], 1
    ):
        body = f'{{"action": "{action}", "kind": "remaining_life", "machine_type": "press", "model_id": {model_id}'
        tables.admin.execute(
            "INSERT INTO control_record (id, kind, cluster, consumer_group, reason, detail, created_by, body)"
            " OVERRIDING SYSTEM VALUE VALUES (%s, 'model', 'local', %s, '', '', '', %s)",
            [number, GROUP, f'{body}, "version": {model_id}, "sha256": "0"}}'],
        )
        tables.admin.execute(
            'INSERT INTO control_effect (control_id, topic, partition, "offset", ordinal) VALUES (%s, %s, 0, %s, %s)',
            [number, TOPIC, offset, ordinal],
        )
    return tables


def predict(tables: Tables, offset: int, model_id: int, stage: str, index: int = 0, **other: object) -> None:
    columns = {
        "machine_id": "press-00001",
        "cluster": "local",
        "source_topic": TOPIC,
        "source_partition": 0,
        "source_offset": offset,
        "source_index": index,
        "kind": "remaining_life",
        "model_id": model_id,
        "factory_id": "aurora",
        "event_time": AT,
        "stage": stage,
        "model_version": model_id,
        "feature_version": 1,
        "inputs": [1.0],
        "event_id": uuid.uuid4(),
        "message_id": uuid.uuid4(),
    }
    columns |= dict.fromkeys(("value", "lower", "upper", "hours_per_day"), 1.0) | dict.fromkeys(
        ("label", "by_rules", "worker"), ""
    )
    tables._insert("maintenance_prediction", columns | other)


def judged(tables: Tables, **more: object) -> Verification:
    return verify(None, tables.dsn, group=GROUP, **more)


def test_predictions_from_the_record_on_to_the_one_before_the_next_are_in_their_place(plant: Tables) -> None:
    for offset, model_id, stage in [
        (10, 7, "live"),
        (49, 7, "live"),
        (20, 8, "shadow"),
        (49, 8, "shadow"),
        (50, 8, "live"),
    ]:
        predict(plant, offset, model_id, stage)
    # What a control record brought to light is placed behind the message before it
    predict(plant, 19, 7, "live", TICK + 1)
    predict(plant, 49, 7, "live", TICK + 2)
    predict(plant, 49, 8, "shadow", TICK + 2)
    predict(plant, 60, 8, "live", TICK + 4)

    found = judged(plant)
    assert (found.predictions, found.predictions_misplaced) == (9, 0)
    assert not [each for each in found.examples if "prediction" in each]


@pytest.mark.parametrize(
    ("offset", "model_id", "stage", "more"),
    [
        (9, 7, "live", {}),
        (50, 7, "live", {}),
        (19, 8, "shadow", {}),
        (20, 8, "live", {}),
        (50, 8, "shadow", {}),
        (30, 9, "live", {}),
        (30, 7, "live", {"model_version": 6}),
        (30, 7, "live", {"kind": "failure_type"}),
        (19, 8, "shadow", {"index": TICK}),
        (49, 8, "live", {"index": TICK + 2}),
        (60, 7, "live", {"index": TICK + 4}),
    ],
)
def test_a_prediction_of_a_model_that_was_not_in_force_is_found(
    plant: Tables, offset: int, model_id: int, stage: str, more: dict
) -> None:
    predict(plant, 30, 7, "live", machine_id="press-00002")
    predict(plant, offset, model_id, stage, **more)

    found = judged(plant)
    place = f"{TOPIC}:0:{offset}:{more.get('index', 0)}"
    assert (found.predictions, found.predictions_misplaced, found.holds) == (2, 1, False)
    assert f"misplaced prediction {place} press-00001 {more.get('kind', 'remaining_life')}" in found.examples


def test_of_many_a_few_are_shown_and_all_are_counted_within_the_bounds(plant: Tables) -> None:
    for offset in range(60, 80):
        predict(plant, offset, 7, "live", machine_id=f"press-{offset % 2}", event_time=AT + dt.timedelta(hours=offset))

    found = judged(plant)
    assert (found.predictions, found.predictions_misplaced) == (20, 20)
    assert len([each for each in found.examples if each.startswith("misplaced")]) == 5
    assert plant.verify().predictions_misplaced == 20
    with pytest.raises(Exception, match="nothing is stored within"):
        judged(plant, bounds=Bounds(machines=("press-1",)))
    until = Bounds(until=AT + dt.timedelta(hours=70))
    assert judged(plant, bounds=until).predictions_misplaced == 10


def test_what_is_known_of_no_log_or_of_one_that_was_lost_is_not_judged(plant: Tables) -> None:
    predict(plant, 60, 7, "live", source_partition=5)
    predict(plant, 60, 7, "live", stored_time=AT - dt.timedelta(days=400))
    assert judged(plant).predictions_misplaced == 1

    plant.admin.execute("UPDATE source_progress SET log_since = %s", [AT - dt.timedelta(days=300)])
    assert (judged(plant).predictions, judged(plant).predictions_misplaced) == (2, 0)


def test_of_groups_that_read_one_log_either_may_have_had_it_in_force(plant: Tables) -> None:
    plant.admin.execute(
        "INSERT INTO source_progress (cluster, consumer_group, topic, partition, source_id, effects_next, windows_next)"
        " VALUES ('local', 'another', %s, 0, 78, 100, 100)",
        [TOPIC],
    )
    plant.admin.execute("UPDATE control_record SET consumer_group = 'another' WHERE id = 1")
    predict(plant, 30, 7, "live")
    assert judged(plant).predictions_misplaced == 0

"""R30, R32, R35, R40: models are promoted and rolled back under load with a kill in between, at recorded offsets."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.features import FEATURE_VERSION, feature_names
from pipeline.verifying.verify import behind, ledger_ends, verify
from tests.core.prognosis.models_in_force import maintenance_class, remaining_life
from tests.system.processes import Site
from tests.system.promoting import PRESS, imported, told

PARTITIONS = 4
MESSAGES, MACHINES = 140_000, 450
FEATURES = (*feature_names(["temperature"], ["fast", "fast-slow", "last_max"]), "age", "log_age")

# The word on each model at each row's offset, from control records and their places alone: of live ones the newest counts
_WRONG = """
WITH said AS (
    SELECT e.topic, e.partition, e."offset", e.ordinal, c.body ->> 'action' AS action, c.body ->> 'kind' AS kind,
           (c.body ->> 'model_id')::bigint AS model_id, (c.body ->> 'version')::int AS version
    FROM control_effect AS e JOIN control_record AS c ON c.id = e.control_id WHERE c.kind = 'model'
), stages AS (
    SELECT p.kind, p.model_id, p.model_version, p.stage, p.source_offset, p.source_topic, p.source_partition,
           (SELECT action FROM said WHERE topic = p.source_topic AND partition = p.source_partition AND kind = p.kind
              AND model_id = p.model_id AND "offset" <= p.source_offset ORDER BY ordinal DESC LIMIT 1) AS action,
           (SELECT (model_id, version) FROM said WHERE topic = p.source_topic AND partition = p.source_partition
              AND kind = p.kind AND action = 'live' AND "offset" <= p.source_offset ORDER BY ordinal DESC LIMIT 1) AS live
    FROM {schema}.maintenance_prediction AS p
)
SELECT count(*) FROM stages WHERE action IS DISTINCT FROM stage OR (stage = 'live') <> ((model_id, model_version) = live)
"""
_BY_STAGE = """
SELECT kind, model_id, stage, count(*) AS rows, count(e.event_id) AS events,
       count(DISTINCT (p.machine_id, p.source_partition, p.source_offset, p.source_index)) AS keys
FROM maintenance_prediction AS p LEFT JOIN event AS e USING (event_id, event_time) GROUP BY 1, 2, 3
"""


def is_everywhere(at: Site) -> bool:
    """Return whether every partition has applied every decision."""
    decisions = at.one("SELECT count(*) FROM control_record WHERE kind = 'model'")
    placed = "SELECT count(*) FROM control_effect AS e JOIN control_record AS c ON c.id = e.control_id WHERE c.kind = 'model'"
    return at.one(placed) == PARTITIONS * decisions


@pytest.mark.timeout(400)
def test_models_are_promoted_and_rolled_back_under_load_through_a_kill_and_a_replay_says_the_same(
    site: Callable[..., Site], database, tmp_path: Path
) -> None:
    at, ledger = (
        site(partitions=PARTITIONS, settings={"POSTGRES__ADMIN_DSN": database.admin_dsn}),
        tmp_path / "ledger.csv",
    )
    lives = [imported(at, tmp_path, remaining_life(seed, FEATURES)) for seed in range(2)]
    classes = [imported(at, tmp_path, maintenance_class(limit)) for limit in (7550.0, 7560.0)]
    first, second = at.worker("first"), at.worker("second")
    for number in (lives[0], classes[0]):
        told(at, "promote", number)
    # Event time runs as fast as messages can be sent: operating cycles end within seconds
    plant = at.start(
        "plant", "simulate", "--backfill", f"--machines={MACHINES}", f"--messages={MESSAGES}",
        "--plant=late_share=0.01", "--plant=duplicate_share=0.01", f"--ledger={ledger}", f"--topic={at.topics[0]}",
    )  # fmt: skip
    at.wait(lambda: at.stored() > 12_000)
    told(at, "shadow", lives[1])
    told(at, "shadow", classes[1])
    told(at, "promote", lives[1])
    at.wait(lambda: at.stored() > 30_000)
    first.signal(signal.SIGKILL)
    told(at, "promote", classes[1])
    third = at.worker("third")
    at.wait(lambda: third.said("partition.acquired"))
    told(at, "rollback", "remaining_life", PRESS)
    told(at, "shadow", lives[1])
    assert plant.wait(200) == 0
    at.wait(lambda: behind(ledger_ends(ledger), database.admin_dsn, at.group) == 0, within_s=120)
    at.wait(lambda: is_everywhere(at))
    assert [second.stop(), third.stop()] == [0, 0]

    found = {(row["kind"], str(row["model_id"]), row["stage"]): row for row in at.rows(_BY_STAGE)}
    for kind, numbers in (("remaining_life", lives), ("maintenance_class", classes)):
        assert (kind, numbers[0], "live") in found, found
        assert (kind, numbers[1], "live") in found, found
    for (_, _, stage), row in found.items():
        assert row["rows"] == row["keys"], "something was said twice"
        assert row["events"] == (row["rows"] if stage == "live" else 0)
    assert at.one(_WRONG.format(schema="telemetry")) == 0
    assert verify(ledger, database.admin_dsn, group=at.group).holds
    check_replay(at, sum(row["rows"] for row in found.values()))


def check_replay(at: Site, rows: int) -> None:
    """Check that a replay from the beginning says all of it again, and nothing else."""
    assert at.run("replay", "start", "again", "--json").returncode == 0
    differing = json.loads(at.run("replay", "diff", "again", "--json").stdout)
    assert differing["holds"], differing
    tables = {each["table"]: (each["live"], each["shadow"]) for each in differing["columns"] if not each["column"]}
    assert tables["maintenance_prediction"] == (rows, rows)


def test_a_damaged_model_is_refused_in_one_line_and_nothing_is_promoted(
    site: Callable[..., Site], database, tmp_path
) -> None:
    at = site(partitions=1, settings={"POSTGRES__ADMIN_DSN": database.admin_dsn})
    file = tmp_path / "model"
    file.write_bytes(artefacts.encode(remaining_life(), FEATURE_VERSION)[:-3])
    done = at.run("models", "import", str(file), f"--machine-type={PRESS}")
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert at.one("SELECT count(*) FROM model_version") == 0

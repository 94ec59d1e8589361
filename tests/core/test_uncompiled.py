"""Without a compiler the kernels run as plain Python, and say the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from pipeline.core.fold import FoldRules, Marks, fold
from pipeline.core.forecasts import learn
from pipeline.core.records import RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from tables import snapshots
from tests.core.detectors.streams import RULES, stream
from tests.core.prognosis.models_in_force import FEATURES, maintenance_class, remaining_life, spoken_of

RECORDS = stream()


def told() -> list[Any]:
    """Fold the stream in which every detector finds something, with restarts; return anomalies, predictions and windows."""
    state, found = PartitionState(), []
    for number, model in enumerate((remaining_life(), maintenance_class(7505.0)), 1):
        learn(state, spoken_of(number, "live", model, number, "press"))
    for first in range(0, len(RECORDS), 150):
        records = RECORDS[first : first + 150]
        batch = RecordBatch(SourcePartition("t", 0), "", first, first + len(records), records)
        effects = fold(state, batch, FoldRules(detectors=RULES), Marks())
        anomalies, said = effects.anomalies, effects.predictions
        found += [[each.offset, each.sensor, each.kind, each.value, each.expected, each.score] for each in anomalies]
        found += [[each.offset, each.label, each.value, each.lower, each.upper, *each.inputs] for each in said]
        found += state.forget_deltas(30_000)[0].tolist()
        state = snapshots.decode(snapshots.encode(state.to_arrays())[0])
    return found


def test_the_fold_gives_the_same_effects_as_plain_python() -> None:
    program = "import json; from tests.core import test_uncompiled; print(json.dumps(test_uncompiled.told()))"
    variables = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", program],
        env=variables | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    expected, found = told(), json.loads(done.stdout)

    assert len(expected) > 100
    assert {len(each) for each in expected} >= {6, 5 + len(FEATURES)}
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        # Powers and logarithms may be another library's
        assert one == [pytest.approx(each, rel=1e-9) if isinstance(each, float) else each for each in other]

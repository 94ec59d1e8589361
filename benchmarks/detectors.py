"""What detectors cost: job J with its own detector of spikes alone, and with all others on as well."""

from __future__ import annotations

from dataclasses import replace

import orjson

from benchmarks.contestants import PIPELINE, Task, worker_variables
from pipeline.core.detectors.catalogue import DETECTORS

LEAST = 0.85
"""What of job J's own rate has to be left with all detectors."""


def _worker(task: Task) -> tuple[list[str], dict[str, str]]:
    names = orjson.dumps([each.name for each in DETECTORS]).decode()
    variables = worker_variables(task) | {"PIPELINE_DETECTORS__ENABLED": names}
    return ["-m", "pipeline", "worker", f"--name=bench-{task.number}"], variables


ALL = replace(PIPELINE, name="all detectors", command=_worker)

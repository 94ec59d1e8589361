"""A stream in which every detector finds something soon, and the rules by which they do."""

from __future__ import annotations

import numpy as np

from pipeline.core.detectors.configuration import Choice, DetectorRules
from pipeline.core.records import Record

BASE_MS = 1_790_000_000_000
QUICK = {"warm_up": 20, "calm": 2, "refractory_ms": 0}
RULES = DetectorRules(
    choices=(
        Choice("change", threshold=4.0, parameters=QUICK),
        Choice("stuck", threshold=2.0, parameters=QUICK),
        Choice("novelty", threshold=0.5, parameters=QUICK),
        Choice("mixture", threshold=0.3, parameters=QUICK),
        Choice("multivariate", threshold=3.0, parameters=QUICK),
    )
)


def stream(messages: int = 400, seed: int = 1) -> list[Record]:
    """Messages of three machines in turn, with steps, a sensor that sticks and one that is missing at times."""
    random = np.random.default_rng(seed)
    records = []
    for n in range(messages):
        machine, nth = n % 3, n // 3
        common = random.normal()
        step = 6.0 if machine == 0 and nth > 60 else 0.0
        stuck = machine == 1 and nth > 70
        readings = [
            ("temperature", 50.0 + step + common + 0.2 * random.normal()),
            ("pressure", 7500.0 if stuck else 7500.0 + 10.0 * (common + 0.2 * random.normal())),
            ("humidity", 20.0 + random.normal() * (5.0 if machine == 2 and nth > 90 else 1.0)),
        ]
        kept = [f'"{name}":{value:.6f}' for name, value in readings if name != "humidity" or nth % 7]
        body = (
            f'{{"type":"machine","factory_id":"f","machine_id":"m{machine}","machine_type":"press",'
            f'"time":"{np.datetime64(BASE_MS + n * 1000, "ms")}Z","seq":{nth},"readings":{{{",".join(kept)}}}}}'
        )
        records.append(Record(n, BASE_MS + n * 1000, body.encode()))
    return records

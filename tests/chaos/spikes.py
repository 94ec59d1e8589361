"""What the spike detector should find, from its definition: plain numpy over all sensors at once, nothing of the pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

THRESHOLD, FADING, WARM_UP, NEW_NORMAL = 4.5, 0.03, 30, 20


def flagged(machines: npt.NDArray[np.integer[Any]], values: Floats) -> dict[str, npt.NDArray[Any]]:
    """Return the readings that are anomalies.

    Parameters
    ----------
    machines
        Machine of each message, shape (n,); equal ones are together, in the order in which they were accepted.
    values
        Readings, shape (n, sensors).

    Returns
    -------
    dict
        ``message`` (row of ``values``), ``sensor`` (column), ``expected`` and the signed ``score``.
    """
    _, starts, counts = np.unique(machines, return_index=True, return_counts=True)
    # Machines with many messages first, so that those still sending are always the first rows
    order = np.argsort(-counts)
    starts, counts = starts[order], counts[order]
    series = _Series(len(starts), values.shape[1])
    found: list[tuple[npt.NDArray[Any], ...]] = []
    for nth in range(int(counts[0]) if len(counts) else 0):
        active = int(np.searchsorted(-counts, -nth, side="left"))
        rows = starts[:active] + nth
        expected, score = series.step(active, values[rows])
        machine, sensor = np.nonzero(np.abs(score) > THRESHOLD)
        found.append((rows[machine], sensor, expected[machine, sensor], score[machine, sensor]))
    columns = zip(*found, strict=True) if found else ((), (), (), ())
    return {
        name: np.concatenate(parts) if parts else np.empty(0)
        for name, parts in zip(("message", "sensor", "expected", "score"), columns, strict=True)
    }


class _Series:
    """The detectors of so many machines and sensors, one reading each per step."""

    def __init__(self, machines: int, sensors: int) -> None:
        self._mean, self._variance, self._seen, self._streak = np.zeros((4, machines, sensors))

    def step(self, active: int, x: Floats) -> tuple[Floats, Floats]:
        mean, variance = self._mean[:active].copy(), self._variance[:active].copy()
        seen, streak = self._seen[:active].copy(), self._streak[:active].copy()
        floor = 1e-6 * np.abs(mean) + 1e-12
        score = np.where(seen >= WARM_UP, (x - mean) / np.maximum(np.sqrt(variance), floor), 0.0)
        odd = np.abs(score) > THRESHOLD
        anew = odd & (streak + 1 >= NEW_NORMAL)
        rate = np.maximum(FADING, 1 / (seen + 1))
        step = x - mean
        learned = (mean + rate * step, (1 - rate) * (variance + rate * step * step), seen + 1, np.zeros_like(streak))
        kept = (mean, variance, seen, streak + 1)
        restarted = (x, np.zeros_like(x), np.ones_like(x), np.zeros_like(x))
        self._mean[:active], self._variance[:active], self._seen[:active], self._streak[:active] = (
            np.where(anew, fresh, np.where(odd, old, new))
            for fresh, old, new in zip(restarted, kept, learned, strict=True)
        )
        return mean, score

"""The fold's rules once more, in plain Python and from the definitions: what the laws are checked against."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field


@dataclass
class Plain:
    """What the sink should hold after some messages; each a dict with machine, time_ms, seq, ingest_ms and readings."""

    window_ms: int = 60_000
    delay_ms: int = 10_000
    threshold: float = 4.5
    fading: float = 0.03
    warm_up: int = 30
    memory: int = 64
    events: list[tuple[int, str]] = field(default_factory=list)
    anomalies: list[tuple[int, str, str, float, float]] = field(default_factory=list)
    windows: dict[tuple[str, str, int], list[tuple[int, int, float, bool]]] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    watermark_ms: int | None = None

    def __post_init__(self) -> None:
        self._sent: dict[str, list[tuple[int, int]]] = {}
        self._models: dict[tuple[str, str], list[float]] = {}

    def take(self, offset: int, message: dict) -> None:
        machine, time_ms, seq = message["machine"], message["time_ms"], message["seq"]
        remembered = self._sent.setdefault(machine, [])
        if seq >= 0 and (seq, time_ms) in remembered[-self.memory :]:
            self.duplicates[machine] = self.duplicates.get(machine, 0) + 1
            return
        if seq >= 0:
            remembered.append((seq, time_ms))
        self.events.append((offset, machine))
        window = time_ms // self.window_ms
        late = self.watermark_ms is not None and (window + 1) * self.window_ms <= self.watermark_ms
        for sensor, value in message["readings"].items():
            self._score(offset, machine, sensor, value)
            self.windows.setdefault((machine, sensor, window), []).append((time_ms, offset, value, late))
        reached = min(time_ms, message["ingest_ms"]) - self.delay_ms
        self.watermark_ms = reached if self.watermark_ms is None else max(self.watermark_ms, reached)

    def _score(self, offset: int, machine: str, sensor: str, value: float) -> None:
        mean, variance, seen, streak = self._models.get((machine, sensor), [0.0, 0.0, 0, 0])
        score = 0.0
        if seen >= self.warm_up:
            score = (value - mean) / max(math.sqrt(variance), 1e-6 * abs(mean) + 1e-12)
        if abs(score) > self.threshold:
            self.anomalies.append((offset, sensor, "spike" if score > 0 else "dip", mean, abs(score)))
            streak += 1
            if streak == 20:
                mean, variance, seen, streak = value, 0.0, 1, 0
        else:
            rate = max(self.fading, 1 / (seen + 1))
            step = value - mean
            mean, variance = mean + rate * step, (1 - rate) * (variance + rate * step * step)
            seen, streak = seen + 1, 0
        self._models[machine, sensor] = [mean, variance, seen, streak]

    def window_rows(self) -> dict[tuple[str, str, int], dict[str, float]]:
        rows = {}
        for key, readings in self.windows.items():
            values = [value for _, _, value, _ in readings]
            rows[key] = {
                "count": len(values),
                "mean": statistics.fmean(values),
                "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
                "min": min(values),
                "max": max(values),
                "last": max(readings, key=lambda r: (r[0], r[1]))[2],
                "late": sum(late for _, _, _, late in readings),
            }
        return rows

"""The fold's rules once more, in plain Python and from the definitions: what the laws are checked against."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field


@dataclass
class Plain:
    """What the sink should hold after some messages; each a dict with machine, time_ms, seq, ingest_ms and readings."""

    window_ms: int = 30_000
    delay_ms: int = 10_000
    allowed_lateness_ms: int = 7_200_000
    gap_ms: int = 30_000
    threshold: float = 4.5
    fading: float = 0.03
    warm_up: int = 30
    memory: int = 64
    silence_ms: int = 0
    events: list[tuple[int, str]] = field(default_factory=list)
    anomalies: list[tuple[int, str, str, float, float]] = field(default_factory=list)
    windows: dict[tuple[str, str, int], list[tuple[int, int, float, bool, bool]]] = field(default_factory=dict)
    factories: dict[tuple[str, str, int], list[tuple[int, int, float, bool, bool]]] = field(default_factory=dict)
    heard: dict[str, list[tuple[int, dict[str, float]]]] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    watermark_ms: int | None = None

    def __post_init__(self) -> None:
        self._heard_ms: dict[str, int] = {}
        self._step: int | None = None
        self.silent: set[str] = set()
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
        since_end_ms = None if self.watermark_ms is None else self.watermark_ms - (window + 1) * self.window_ms
        late = since_end_ms is not None and since_end_ms >= 0
        very_late = since_end_ms is not None and since_end_ms >= self.allowed_lateness_ms
        self.heard.setdefault(machine, []).append((time_ms, message["readings"]))
        for sensor, value in message["readings"].items():
            self._score(offset, machine, sensor, value)
            reading = (time_ms, offset, value, late, very_late)
            self.windows.setdefault((machine, sensor, window), []).append(reading)
            self.factories.setdefault((message.get("factory", "aurora"), sensor, time_ms // 60_000), []).append(reading)
        heard = [self._heard_ms.get(machine), min(time_ms, message["ingest_ms"]), self.watermark_ms]
        self._heard_ms[machine] = max(each for each in heard if each is not None)
        self.silent.discard(machine)
        self.pass_time(min(time_ms, message["ingest_ms"]))
        if self.silence_ms and (self._step is None or self.watermark_ms // 5000 > self._step):
            self._step = self.watermark_ms // 5000
            self._look(offset)

    def pass_time(self, at_ms: int) -> None:
        reached = at_ms - self.delay_ms
        self.watermark_ms = reached if self.watermark_ms is None else max(self.watermark_ms, reached)

    def _look(self, offset: int) -> None:
        for machine, heard_ms in self._heard_ms.items():
            silence_ms = self.watermark_ms - heard_ms
            if silence_ms >= self.silence_ms and machine not in self.silent:
                self.silent.add(machine)
                self.anomalies.append(
                    (offset, machine, "device_silent", self.silence_ms / 1000, silence_ms / self.silence_ms)
                )

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
        return {key: _window(readings) for key, readings in self.windows.items()}

    def factory_rows(self) -> dict[tuple[str, str, int], dict[str, float]]:
        return {key: _window(readings) for key, readings in self.factories.items()}

    def cycle_rows(self) -> dict[tuple[str, int], dict]:
        """Return the cycles by machine and start: sorted, and split where there is a gap."""
        rows = {}
        for machine, heard in self.heard.items():
            cycle: list[tuple[int, dict[str, float]]] = []
            for message in [*sorted(heard, key=lambda message: message[0]), None]:
                if cycle and (message is None or message[0] > cycle[-1][0] + self.gap_ms):
                    rows[machine, cycle[0][0]] = _cycle(cycle)
                    cycle = []
                if message is not None:
                    cycle.append(message)
        return rows


def _window(readings: list[tuple[int, int, float, bool, bool]]) -> dict[str, float]:
    return {
        **_statistics([value for _, _, value, _, _ in readings]),
        "last": max(readings, key=lambda r: (r[0], r[1]))[2],
        "late": sum(late for _, _, _, late, _ in readings),
        "very_late": sum(very_late for *_, very_late in readings),
    }


def _cycle(messages: list[tuple[int, dict[str, float]]]) -> dict:
    readings: dict[str, list[tuple[int, float]]] = {}
    for time_ms, some in messages:
        for sensor, value in some.items():
            readings.setdefault(sensor, []).append((time_ms, value))
    return {
        "ended": messages[-1][0],
        "messages": len(messages),
        "readings": {
            sensor: {**_statistics([value for _, value in some]), "last_time": max(at for at, _ in some)}
            for sensor, some in readings.items()
        },
    }


def _statistics(values: list[float]) -> dict[str, float]:
    return {
        "count": len(values),
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
        "min": min(values),
        "max": max(values),
    }

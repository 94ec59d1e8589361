"""How worn a machine is: what its operating cycles since the last repair leave behind, and the features models ask for.

A *life* goes from one repair, or the first cycle that was seen, to the next repair or failure. Every closed cycle costs
O(1) per sensor. A feature has a name: ``temperature.fast-slow`` is one of a sensor, ``age`` one of the machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import record, uncounted

FEATURE_VERSION = 1
"""Grows whenever a feature comes to mean something else: models of another version are not to be used."""

FAST, SLOW, QUICK = 0.06, 0.02, 0.33
"""Weights of the newest cycle in a sensor's exponentially weighted means; as long as there are few, all count the same."""

BASE_CYCLES = 15
"""First cycles of a life, from which a sensor's own base comes."""

HOUR_MS = 3_600_000

WEAR = record(
    [
        ("cycles", np.int64),
        ("fast", np.float64),
        ("slow", np.float64),
        ("base", np.float64),
        ("quick", np.float64),
        ("quick_max", np.float64),
        ("base_max", np.float64),
        ("last", np.float64),
        ("last_max", np.float64),
    ]
)
"""One sensor in its machine's present life, in its own unit; zeros: no cycle yet.

``fast``, ``slow`` and ``quick`` are exponentially weighted means of the cycles' means, ``quick_max`` of their maxima;
``base`` and ``base_max`` the means of the first :data:`BASE_CYCLES`; ``last`` and ``last_max`` the newest cycle's.
"""

LIFE = record(
    [
        ("cycles", np.int64),
        ("operating_ms", np.int64),
        ("began_ms", np.int64),
        ("ended_ms", np.int64),
    ]
)
"""A machine's present life; zeros: nothing seen yet.

``operating_ms`` is the sum of its cycles' durations. It ``began_ms`` with a repair or its first cycle; ``ended_ms`` is the
end of its newest cycle. Times are ms since the epoch, UTC.
"""

SENSOR_FEATURES = (
    "fast",
    "fast-slow",
    "fast-base",
    "quick",
    "quick-base",
    "quick_max-base_max",
    "last",
    "last_max",
)
"""Features of a sensor, in its unit; NaN before its first cycle of the life."""

MACHINE_FEATURES = ("age", "log_age")
"""Features of a machine: operating hours since its life began, and the natural logarithm of 1 + those."""

_FIRST_OF_MACHINE = len(SENSOR_FEATURES)


class Plan(NamedTuple):
    """Where a model's features are found among a machine's sensors.

    Parameters
    ----------
    slots
        Row of each feature's sensor, int32; -1: of the machine, or the machine has no such sensor.
    kinds
        What is asked for, int32: place in :data:`SENSOR_FEATURES`, or behind them in :data:`MACHINE_FEATURES`.
    """

    slots: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.int32]


def sensor_names(features: Sequence[str]) -> list[str]:
    """Return the sensors that features are of, each once, in order.

    Examples
    --------
    >>> sensor_names(["oil.pressure.fast", "oil.pressure.last", "speed.fast-base", "age"])
    ['oil.pressure', 'speed']
    """
    return list(dict.fromkeys(each.rpartition(".")[0] for each in features if each not in MACHINE_FEATURES))


def feature_names(sensors: Sequence[str], of_sensor: Sequence[str], of_machine: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of some features of each sensor, and of the machine.

    Examples
    --------
    >>> feature_names(["oil", "speed"], ["fast", "last"], ["age"])
    ('oil.fast', 'oil.last', 'speed.fast', 'speed.last', 'age')
    """
    return (*(f"{sensor}.{each}" for sensor in sensors for each in of_sensor), *of_machine)


def plan(features: Sequence[str], slots: Mapping[str, int]) -> Plan:
    """Return where features are found.

    Parameters
    ----------
    features
        By name, in the order that a model wants.
    slots
        Row of each of the machine's sensors, by name. A feature of a sensor that is not there is NaN.

    Raises
    ------
    ValueError
        If there is no such feature.

    Examples
    --------
    >>> found = plan(["oil.fast-base", "age", "speed.last"], {"oil": 7})
    >>> found.slots.tolist(), found.kinds.tolist()
    ([7, -1, -1], [2, 8, 6])
    """
    rows, kinds = [], []
    for feature in features:
        sensor, _, name = feature.rpartition(".")
        known = SENSOR_FEATURES if sensor else MACHINE_FEATURES
        if name not in known:
            raise ValueError(
                f"there is no feature {feature!r}; a sensor's end with one of {', '.join(SENSOR_FEATURES)}"
            )
        rows.append(slots.get(sensor, -1) if sensor else -1)
        kinds.append(known.index(name) + (0 if sensor else _FIRST_OF_MACHINE))
    return Plan(np.array(rows, np.int32), np.array(kinds, np.int32))


def computed(features: tuple[str, ...]) -> tuple[str, ...]:
    """Return features; raises :class:`ValueError` if there is no such feature."""
    plan(features, {})
    return features


@uncounted
def take_cycle(life: Any, started_ms: int, ended_ms: int) -> bool:
    """Let a life grow by a closed cycle; return whether it is of this life, so that its sensors are to be taken too.

    A cycle that ended before the life began, or no later than the newest one, changes nothing: so one that comes twice
    counts once, and one that comes late does not count. Of a cycle in which the life began, only what was after it is
    operating time; of cycles that overlap, each moment counts once.

    Parameters
    ----------
    life
        A record of :data:`LIFE`; changed.
    started_ms, ended_ms
        First and last message of the cycle, ms since the epoch, UTC.
    """
    if life.cycles == 0 and life.began_ms == 0:
        life.began_ms = started_ms
    elif ended_ms <= life.ended_ms:
        return False
    life.cycles += 1
    life.operating_ms += ended_ms - max(started_ms, life.began_ms, life.ended_ms)
    life.ended_ms = ended_ms
    return True


@uncounted
def take_sensor(wear: Any, mean: float, maximum: float) -> None:
    """Let a sensor's wear take a closed cycle of its life.

    Parameters
    ----------
    wear
        A record of :data:`WEAR`; changed.
    mean, maximum
        Of the sensor's readings in the cycle, in its unit. What is not finite changes nothing.
    """
    if not (math.isfinite(mean) and math.isfinite(maximum)):
        return
    wear.cycles += 1
    equal = 1.0 / wear.cycles
    wear.fast += max(FAST, equal) * (mean - wear.fast)
    wear.slow += max(SLOW, equal) * (mean - wear.slow)
    wear.quick += max(QUICK, equal) * (mean - wear.quick)
    wear.quick_max += max(QUICK, equal) * (maximum - wear.quick_max)
    if wear.cycles <= BASE_CYCLES:
        wear.base += equal * (mean - wear.base)
        wear.base_max += equal * (maximum - wear.base_max)
    wear.last, wear.last_max = mean, maximum


def begin_life(life: npt.NDArray[np.void], wears: npt.NDArray[np.void], at_ms: int) -> None:
    """Begin a machine's life anew: what is known of the old one is forgotten.

    Parameters
    ----------
    life
        Its row of :data:`LIFE`, shape (1,), a view; changed.
    wears
        Rows of :data:`WEAR` of its sensors, shape (n,), a view; changed.
    at_ms
        When it was repaired, ms since the epoch, UTC. Cycles that ended by then are of the old life.

    Examples
    --------
    >>> life, wears = np.zeros(1, LIFE), np.zeros(2, WEAR)
    >>> take_cycle(life[0], HOUR_MS, 3 * HOUR_MS), take_sensor(wears[0], 50.0, 55.0)
    (True, None)
    >>> begin_life(life, wears, 4 * HOUR_MS)
    >>> take_cycle(life[0], HOUR_MS, 4 * HOUR_MS), take_cycle(life[0], 3 * HOUR_MS, 6 * HOUR_MS)
    (False, True)
    >>> int(life[0]["operating_ms"]) // HOUR_MS, int(wears[0]["cycles"])
    (2, 0)
    """
    life[:] = np.zeros((), LIFE)
    wears[:] = np.zeros((), WEAR)
    life["began_ms"] = life["ended_ms"] = at_ms


@uncounted
def _of_sensor(wear: Any, kind: int) -> float:  # noqa: PLR0911  # one line for each feature
    if wear.cycles == 0:
        return math.nan
    if kind == 0:
        return float(wear.fast)
    if kind == 1:
        return float(wear.fast - wear.slow)
    if kind == 2:
        return float(wear.fast - wear.base)
    if kind == 3:
        return float(wear.quick)
    if kind == 4:
        return float(wear.quick - wear.base)
    if kind == 5:
        return float(wear.quick_max - wear.base_max)
    return float(wear.last if kind == 6 else wear.last_max)


@uncounted
def gather(life: Any, wears: Any, slots: Any, kinds: Any, out: Any) -> None:
    """Write the features of one machine.

    Parameters
    ----------
    life
        A record of :data:`LIFE`.
    wears
        Rows of :data:`WEAR` that the slots count in.
    slots, kinds
        :class:`Plan`.
    out
        Where to, float64, as long as the plan; NaN where a sensor is not there or had no cycle, and for the age before
        the first cycle.
    """
    for i in range(len(slots)):
        kind = kinds[i]
        if kind >= _FIRST_OF_MACHINE:
            hours = life.operating_ms / HOUR_MS if life.cycles > 0 else math.nan
            out[i] = hours if kind == _FIRST_OF_MACHINE else math.log1p(hours)
        elif slots[i] < 0:
            out[i] = math.nan
        else:
            out[i] = _of_sensor(wears[slots[i]], kind)


@uncounted
def hours_per_day(life: Any) -> float:
    """Return how much a machine has worked in its life, hours of operation per calendar day, in [0, 24]; 0: not known.

    Examples
    --------
    >>> life = np.zeros(1, LIFE)
    >>> life["operating_ms"], life["ended_ms"] = 8 * HOUR_MS, 24 * HOUR_MS
    >>> hours_per_day(life[0])
    8.0
    """
    calendar_ms = life.ended_ms - life.began_ms
    return min(24.0, 24.0 * life.operating_ms / calendar_ms) if calendar_ms > 0 else 0.0

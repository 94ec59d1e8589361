"""Maintenance rules as data: which readings of one message ask for which kind of maintenance.

Rules are entities of the plant that commands add, change and remove. As long as nobody ever added one, :data:`DEFAULT_RULES`
hold. Class 0 is a machine that needs nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import uncounted
from pipeline.core.registry import Registry

KIND = "maintenance_rule"
"""Kind of these entities."""

CLASSES = 6
"""How many classes there are: 0 (nothing is needed) to 5."""

_OPERATORS = ("<", "<=", ">", ">=")


class Condition(NamedTuple):
    """What one reading has to be like: ``sensor op value``, with one of the operators <, <=, > and >=."""

    sensor: str
    op: str
    value: float


class MaintenanceRule(NamedTuple):
    """Which readings ask for one kind of maintenance: those for which all conditions hold.

    Parameters
    ----------
    requirement
        Class, 1 to 5.
    version
        Of the entity; 0: one of the defaults.
    """

    id: str
    version: int
    requirement: int
    name: str
    conditions: tuple[Condition, ...]

    @property
    def key(self) -> int:
        """What stays as long as the rule asks for the same class by the same sensors, > 0."""
        sensors = sorted({each.sensor for each in self.conditions})
        return 1 + zlib.crc32("\0".join((self.id, str(self.requirement), *sensors)).encode())


def _default(requirement: int, name: str, *conditions: tuple[str, str, float]) -> MaintenanceRule:
    return MaintenanceRule(
        f"default-{requirement}", 0, requirement, name, tuple(Condition(*each) for each in conditions)
    )


DEFAULT_RULES = (
    _default(1, "Tighten adjustment harness", ("pressure", "<", 7475), ("temperature", "<", 70)),
    _default(
        2, "Loosen adjustment harness", ("pressure", ">", 7600), ("temperature", ">=", 50), ("temperature", "<", 70)
    ),
    _default(3, "Tighten restrictor plate", ("pressure", ">", 7600), ("temperature", "<", 50)),
    _default(4, "Loosen restrictor plate", ("pressure", "<", 7475), ("temperature", ">=", 70)),
    _default(5, "Replace fabrication screws", ("pressure", ">", 7600), ("temperature", ">=", 70)),
)
"""What holds as long as nobody ever added a rule."""


def rules_of(registry: Registry) -> tuple[MaintenanceRule, ...]:
    """Return the rules in force, in the order in which they are tried: by class, then by id.

    Examples
    --------
    >>> [rule.requirement for rule in rules_of(Registry())]
    [1, 2, 3, 4, 5]
    """
    found = registry.entities(KIND)
    if not found:
        return DEFAULT_RULES
    rules = [
        MaintenanceRule(
            rule_id,
            entity.version,
            entity.body["class"],
            entity.body["name"],
            tuple(Condition(**each) for each in entity.body["conditions"]),
        )
        for rule_id, entity in found.items()
        if not entity.removed
    ]
    return tuple(sorted(rules, key=lambda rule: (rule.requirement, rule.id)))


class RuleArrays(NamedTuple):
    """Rules as the kernel takes them: rule ``r`` has the conditions ``[ends[r - 1], ends[r])``.

    Parameters
    ----------
    requirements, keys
        Class and key of each rule; shape (rules,).
    columns, operators, values
        Of each condition, which of the sensors it is about, how that is compared and with what; shape (conditions,).
    """

    requirements: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    operators: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class CompiledRules:
    """Rules, the sensors that they name, and both as arrays.

    Examples
    --------
    >>> rules = CompiledRules(DEFAULT_RULES)
    >>> rules.sensors
    ('pressure', 'temperature')
    >>> rules.places(("temperature", "humidity", "pressure")), rules.places(("temperature",))
    (((2, 0), True), ((-1, 0), False))
    """

    def __init__(self, rules: Sequence[MaintenanceRule]) -> None:
        self.rules = tuple(rules)
        conditions = [each for rule in rules for each in rule.conditions]
        self.sensors = tuple(sorted({each.sensor for each in conditions}))
        self.arrays = RuleArrays(
            np.array([rule.requirement for rule in rules], np.int64),
            np.array([rule.key for rule in rules], np.int64),
            np.cumsum([len(rule.conditions) for rule in rules], dtype=np.int64),
            np.array([self.sensors.index(each.sensor) for each in conditions], np.int64),
            np.array([_OPERATORS.index(each.op) for each in conditions], np.int64),
            np.array([each.value for each in conditions], np.float64),
        )

    def places(self, names: Sequence[str]) -> tuple[tuple[int, ...], bool]:
        """Return where each of the sensors is among a message's readings, -1: nowhere; and whether a rule can be tried.

        Parameters
        ----------
        names
            Of the message's readings, in its order.
        """
        found = tuple(names.index(each) if each in names else -1 for each in self.sensors)
        return found, any({each.sensor for each in rule.conditions} <= {*names} for rule in self.rules)

    def led_to(self, readings: Mapping[str, float]) -> dict[str, float]:
        """Return those of a message's readings that rules look at, by sensor."""
        wanted = {*self.sensors}
        return {name: value for name, value in readings.items() if name in wanted}


@uncounted
def first_match(rules: Any, where: Any, values: Any, begin: int) -> int:
    """Return the first rule whose conditions all hold for a message's readings; -1: none.

    Parameters
    ----------
    rules
        :class:`RuleArrays`.
    where
        Where its sensors are among the readings, as :meth:`CompiledRules.places` has it.
    values, begin
        Readings of a batch, and which is the message's first.
    """
    condition = 0
    for rule in range(len(rules.ends)):
        holds = True
        while condition < rules.ends[rule]:
            at = where[rules.columns[condition]]
            if holds and at < 0:
                holds = False
            if holds:
                value, limit, op = values[begin + at], rules.values[condition], rules.operators[condition]
                if op == 0:
                    holds = value < limit
                elif op == 1:
                    holds = value <= limit
                elif op == 2:
                    holds = value > limit
                else:
                    holds = value >= limit
            condition += 1
        if holds:
            return rule
    return -1

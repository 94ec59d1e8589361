"""What the detectors know about all sensors and machines of one partition, as arrays.

Each detector has a row for every sensor, or machine, that it looks at; the row is made at first sight. A *variant* is a
detector with its parameters. With another configuration a row of the same variant goes on; any other begins anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.banks import Bank
from pipeline.core.compiling import record
from pipeline.core.detectors import policy, pool
from pipeline.core.detectors.catalogue import DETECTORS, Detector
from pipeline.core.detectors.census import Census
from pipeline.core.detectors.configuration import DetectorRules, Variant
from pipeline.core.detectors.inspection import FOUND, Part, Parts, inspect
from pipeline.core.detectors.machine_state import WIDTH
from pipeline.core.windowing.moments import beginnings

_INDEX = np.dtype(np.int32)
_NOBODY = -1

Kind = tuple[str, str]
"""Type of a machine and name of a sensor, ``""`` for the machine as a whole: by these, rules choose."""


class _Rows:
    """One detector's rows."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.rows = Bank(_INDEX)
        self.variants = Bank(_INDEX)
        self.states = Bank(detector.state)
        self.policies = Bank(policy.STATE)
        self._known: list[Variant] = []
        self._numbers: dict[str, int] = {}
        self._wanted = Bank(_INDEX)
        self._numeric: tuple[npt.NDArray[Any], ...] | None = None

    @property
    def keys(self) -> list[str]:
        """The variants, as text that is the same for the same ones."""
        return list(self._numbers)

    def add(self, rules: DetectorRules, kinds: Sequence[Kind], numbers: npt.NDArray[np.int32]) -> None:
        """Make the rows of those sensors, or machines, among the next ones that the detector looks at.

        Parameters
        ----------
        kinds
            All that there are by now, in the order of first sight.
        numbers
            Which of them the next ones are of; shape (n,).
        """
        new = [rules.variant(self.detector, *each) for each in kinds[self._wanted.used :]]
        self._wanted.extend(len(new))[:] = [_NOBODY if each is None else self._number(each) for each in new]
        variants = self._wanted.rows[numbers]
        watched = variants != _NOBODY
        count = int(np.count_nonzero(watched))
        rows = np.full(len(numbers), _NOBODY, _INDEX)
        rows[watched] = self.states.used + np.arange(count)
        for bank in self._learned.values():
            bank.extend(count)
        self.variants.extend(count)[:] = variants[watched]
        self.rows.extend(len(rows))[:] = rows

    def _number(self, variant: Variant) -> int:
        number = self._numbers.setdefault(json.dumps(variant.key), len(self._known))
        if number == len(self._known):
            self._known.append(variant)
            self._numeric = None
        return number

    def take_over(self, old: _Rows) -> npt.NDArray[np.int64]:
        """Take what another one knows of the same sensors by the same variants; return the places with others."""
        places = min(self.rows.used, old.rows.used)
        mine, theirs = self.rows.rows[:places], old.rows.rows[:places]
        both = (mine != _NOBODY) & (theirs != _NOBODY)
        mine, theirs = mine[both], theirs[both]
        numbers = np.array([self._numbers.get(key, _NOBODY) for key in old.keys], _INDEX)
        same = numbers[old.variants.rows[theirs]] == self.variants.rows[mine]
        for name, bank in self._learned.items():
            bank.rows[mine[same]] = old._learned[name].rows[theirs[same]]
        otherwise = self.rows.rows[:places] != old.rows.rows[:places]
        otherwise[both] = ~same
        return np.flatnonzero(otherwise)

    def part(self) -> Part:
        """Return the rows as the kernel takes them."""
        if self._numeric is None:
            rules = [each.rules for each in self._known]
            alarms = [each.alarms for each in self._known]
            self._numeric = (
                _records(rules, self.detector.rules),
                _records(alarms, self.detector.alarms),
                np.array([each.version for each in self._known], np.int64),
            )
        return Part(self.rows.rows, self.variants.rows, self.states.rows, self.policies.rows, *self._numeric)

    @property
    def _learned(self) -> dict[str, Bank]:
        """What is known of each row; where readings are judged one by one, there is no policy."""
        states = {"states": self.states}
        return states if self.detector.of_readings else states | {"policies": self.policies}

    @property
    def _banks(self) -> dict[str, Bank]:
        return {"rows": self.rows, "variants": self.variants} | self._learned

    def to_arrays(self) -> dict[str, Any]:
        name = self.detector.name
        return {f"{name}_keys": self.keys} | {f"{name}_{each}": bank.copy() for each, bank in self._banks.items()}

    @classmethod
    def from_arrays(cls, detector: Detector, arrays: Mapping[str, Any]) -> _Rows | None:
        """Return the rows that :meth:`to_arrays` described; ``None`` if their records are not those of this version."""
        found = cls(detector)
        for name, bank in found._banks.items():
            rows = arrays.get(f"{detector.name}_{name}")
            if rows is None or rows.dtype != bank.rows.dtype:
                return None
            bank.load(rows)
        found._numbers = {key: number for number, key in enumerate(arrays[f"{detector.name}_keys"])}
        return found


class DetectorBank:
    """All detectors of a partition."""

    def __init__(self) -> None:
        self._rules: DetectorRules | None = DetectorRules()
        self._pools = Bank(pool.STATE)
        self._begin()

    def _begin(self) -> None:
        self._rows = {each.name: _Rows(each) for each in DETECTORS}
        self._widths = Bank(_INDEX)
        self._columns = Bank(_INDEX)
        self._placed = Bank(_INDEX, width=WIDTH)
        self._machine_kinds: dict[Kind, int] = {}
        self._sensor_kinds: dict[Kind, int] = {}

    def adopt(self, rules: DetectorRules, census: Census) -> None:
        """Look at everybody by some rules from now on; make rows for those who are new."""
        if rules == self._rules:
            self._grow(rules, census)
            return
        before, self._rules = self._rows, rules
        self._begin()
        self._grow(rules, census)
        for name, rows in self._rows.items():
            places = rows.take_over(before[name])
            machines = places if rows.detector.of_machine else census.owners[places]
            pool.doubt(self._pools.rows, machines)

    def _grow(self, rules: DetectorRules, census: Census) -> None:
        machines = census.machine_types[self._widths.used :]
        first = self._columns.used
        owners = census.owners[first : len(census.sensor_names)]
        if not machines and not len(owners):
            return
        self._pools.extend(max(0, len(census.machine_types) - self._pools.used))
        self._widths.extend(len(machines))
        self._placed.extend(len(machines))[:] = _NOBODY
        self._place(owners)
        types = map(census.machine_types.__getitem__, owners.tolist())
        of_machines = _numbered(self._machine_kinds, zip(machines, repeat("")))
        of_sensors = _numbered(self._sensor_kinds, zip(types, census.sensor_names[first:], strict=True))
        for each in self._rows.values():
            if each.detector.of_machine:
                each.add(rules, list(self._machine_kinds), of_machines)
            else:
                each.add(rules, list(self._sensor_kinds), of_sensors)

    def _place(self, owners: npt.NDArray[np.int32]) -> None:
        """Give the next sensors, by the rows of their machines, the next columns of these."""
        order = np.argsort(owners, kind="stable")
        beginning = beginnings(owners[order])
        nth = np.empty(len(owners), np.int64)
        nth[order] = np.arange(len(owners)) - np.repeat(beginning, np.diff(beginning, append=len(owners)))
        columns = self._widths.rows[owners] + nth
        np.add.at(self._widths.rows, owners, 1)
        fits = np.flatnonzero(columns < WIDTH)
        self._placed.rows[owners[fits], columns[fits]] = self._columns.used + fits
        self._columns.extend(len(owners))[:] = columns

    def inspect(
        self, messages: Any, kept: npt.NDArray[np.bool_], layouts: Any, rules: DetectorRules, census: Census
    ) -> npt.NDArray[np.void]:
        """Show a batch to the detectors; return the alarms in the order of messages, of :data:`FOUND`.

        Parameters
        ----------
        messages, layouts
            As the fold's kernel takes them.
        kept
            Whether each message was no duplicate; shape (n,).
        census
            Who there is, those that this batch brought included.
        """
        if rules.is_off and self._rules == rules:
            return np.empty(0, FOUND)
        self.adopt(rules, census)
        per_sensor = sum(not each.of_machine for each in DETECTORS)
        found = np.empty(per_sensor * len(messages.values) + len(DETECTORS) * len(messages.offsets), FOUND)
        return found[: inspect(messages, kept, layouts, self.parts(), found)]

    def sensors_of(self, machine: int) -> list[int]:
        """Return the slots of a machine's sensors by column; at most :data:`WIDTH`."""
        return [slot for slot in self._placed.rows[machine].tolist() if slot != _NOBODY]

    def parts(self) -> Parts:
        """Return everything as the kernels take it, until the next one is adopted."""
        return Parts(
            **{name: rows.part() for name, rows in self._rows.items()},
            pools=self._pools.rows,
            columns=self._columns.rows,
            sensors=self._placed.rows,
            values=np.zeros(WIDTH),
            present=np.zeros(WIDTH, np.bool_),
            scores=np.zeros(len(DETECTORS)),
            odd=np.zeros(len(DETECTORS), np.bool_),
        )

    def to_arrays(self) -> dict[str, Any]:
        """Return a copy of what is known, as plain lists and arrays."""
        arrays: dict[str, Any] = {"pools": self._pools.copy()}
        for rows in self._rows.values():
            arrays |= rows.to_arrays()
        return arrays

    def load(self, arrays: Mapping[str, Any]) -> None:
        """Take over what :meth:`to_arrays` described; a detector whose records were others begins anew."""
        self._rules = None
        known = arrays.get("pools")
        if known is not None and known.dtype == pool.STATE:
            self._pools.load(known)
        for detector in DETECTORS:
            self._rows[detector.name] = _Rows.from_arrays(detector, arrays) or _Rows(detector)


def _numbered(kinds: dict[Kind, int], some: Iterable[Kind]) -> npt.NDArray[np.int32]:
    """Return the number of each of some kinds, shape (n,); the new ones get the next."""
    return np.fromiter((kinds.setdefault(each, len(kinds)) for each in some), np.int32)


def _records(values: Sequence[Any], example: Any) -> npt.NDArray[Any]:
    """Return parameters as records, shape (n,), with the example's fields: whole numbers where it has such."""
    kinds = [(name, np.int64 if isinstance(getattr(example, name), int) else np.float64) for name in example._fields]
    return np.array([tuple(each) for each in values], record(kinds))

"""What a partition knows of the plant: factories, lines, machines and the rest, as control records told it.

Versions decide, so the order of control records does not matter: a lower version than the known one changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.core.controls import METADATA, Control

Key = tuple[str, str]
"""Kind and id of an entity."""


class Entity(NamedTuple):
    """One thing of the plant, in its newest version.

    Parameters
    ----------
    version
        Counted from 1; a removal is a version too.
    changed_ms
        When it was changed, as the command says, ms since the epoch, UTC.
    command_id
        Which command made this version.
    """

    version: int
    removed: bool
    body: Mapping[str, Any]
    changed_ms: int
    command_id: str

    @property
    def rank(self) -> tuple[int, int, str]:
        """What the newest one has the greatest of; two that two partitions let have the same version are told by it too."""
        return self.version, self.changed_ms, self.command_id


class Registry:
    """Entities by kind and id, and how many control records were applied.

    Examples
    --------
    >>> registry = Registry()
    >>> body = {"entity": "machine", "id": "press-1", "version": 1, "removed": False, "body": {"status": "disabled"}}
    >>> registry.apply(Control(1, METADATA, body | {"changed_ms": 0, "command_id": "c1"}))
    >>> registry.is_disabled("press-1"), registry.applied
    (True, 1)
    """

    def __init__(self) -> None:
        self.applied = 0
        self._entities: dict[Key, Entity] = {}
        self._expected: dict[Key, Entity] = {}
        self.spokesmen: dict[str, str] = {}
        """The gateway that speaks for a machine, of those that have one."""
        self.disabled: set[str] = set()
        """Machines that are switched off."""
        self.quarantining: dict[str, bool] = {}
        """Whether a factory that has a policy of its own quarantines machines that nobody knows."""

    def apply(self, control: Control) -> None:
        """Learn what a control record says; of a kind that says nothing about the plant it only counts."""
        self.applied += 1
        if control.kind != METADATA:
            return
        said = control.body
        found = Entity(said["version"], said["removed"], said["body"], said["changed_ms"], said["command_id"])
        self._learn((said["entity"], said["id"]), found)

    def _learn(self, key: Key, found: Entity) -> None:
        known = self._entities.get(key)
        if known is not None and known.rank >= found.rank:
            return
        self._entities[key] = found
        expected = self._expected.get(key)
        if expected is not None and expected.rank <= found.rank:
            del self._expected[key]
        if key[0] == "machine":
            self._note_machine(key[1], found)
        elif key[0] == "factory":
            self._note_factory(key[1], found)

    def _note_machine(self, machine_id: str, machine: Entity) -> None:
        self.spokesmen.pop(machine_id, None)
        if not machine.removed and "gateway" in machine.body:
            self.spokesmen[machine_id] = machine.body["gateway"]
        if not machine.removed and machine.body.get("status") == "disabled":
            self.disabled.add(machine_id)
        else:
            self.disabled.discard(machine_id)

    def _note_factory(self, factory_id: str, factory: Entity) -> None:
        self.quarantining.pop(factory_id, None)
        if not factory.removed and "policy" in factory.body:
            self.quarantining[factory_id] = factory.body["policy"] == "quarantine"

    def find(self, kind: str, entity_id: str) -> Entity | None:
        """Return an entity, also one that was removed; ``None`` if there never was one."""
        return self._entities.get((kind, entity_id))

    def entities(self, kind: str) -> dict[str, Entity]:
        """Return all entities of a kind by id, also those that were removed."""
        return {entity_id: entity for (each, entity_id), entity in self._entities.items() if each == kind}

    def has_machine(self, machine_id: str) -> bool:
        """Return whether a machine was added, and not removed since."""
        found = self.find("machine", machine_id)
        return found is not None and not found.removed

    def is_expected(self, machine_id: str) -> bool:
        """Return whether a machine that sent something before ought to go on: it is neither disabled nor removed."""
        found = self.find("machine", machine_id)
        return machine_id not in self.disabled and (found is None or not found.removed)

    def line_of(self, machine_id: str) -> str:
        """Return the line that a machine belongs to; empty: nobody has said."""
        found = self.find("machine", machine_id)
        return str(found.body.get("line_id", "")) if found is not None and not found.removed else ""

    def expect(self, kind: str, entity_id: str, entity: Entity) -> None:
        """Note that a command made a version, whose control record is on its way; it is not in force before that comes."""
        self._expected[kind, entity_id] = entity

    def head(self, kind: str, entity_id: str) -> Entity | None:
        """Return an entity in the version that the next command is to expect."""
        known, expected = self.find(kind, entity_id), self._expected.get((kind, entity_id))
        return known if expected is None or (known is not None and known.rank >= expected.rank) else expected

    def is_disabled(self, machine_id: str) -> bool:
        """Return whether records of a machine are not to be accepted."""
        return machine_id in self.disabled

    def to_plain(self) -> list[list[list[Any]]]:
        """Return all entities as plain lists, in order of their keys: those in force, and those on their way."""
        both = (sorted(each.items(), key=lambda item: item[0]) for each in (self._entities, self._expected))
        return [[[*key, *entity] for key, entity in each] for each in both]

    @classmethod
    def from_plain(cls, applied: int, plain: Sequence[Sequence[Sequence[Any]]]) -> Registry:
        """Return the registry that :meth:`to_plain` described, after so many control records."""
        registry = cls()
        registry.applied = applied
        in_force, expected = plain
        for kind, entity_id, *entity in in_force:
            registry._learn((kind, entity_id), Entity(*entity))
        for kind, entity_id, *entity in expected:
            registry.expect(kind, entity_id, Entity(*entity))
        return registry

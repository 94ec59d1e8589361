"""Commands that say what the plant is like: as they come in, and what becomes of them.

A command is judged where it comes in, against what its partition knows of the entity, and changes it by a control record that
every partition applies, its own included. Until that has come back, the partition remembers what it let pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from pipeline.core.checks import Refused, shown
from pipeline.core.dead_letters import DeadLetterReason as Reason
from pipeline.core.decoding.fact_messages import FactMessage
from pipeline.core.facts import METADATA_CHANGED, METADATA_UNCHANGED, Fact
from pipeline.core.fields import kind_of, members, present, text
from pipeline.core.plant import ENTITIES, complaint
from pipeline.core.registry import Entity, Registry

ACTIONS = ("add", "change", "remove")

_MAX_VERSION = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataCommand(Fact):
    """A command that changes nothing: it was rejected, or was applied before. Before it is judged, any command.

    Parameters
    ----------
    machine_id, factory_id
        Empty where it is about neither.
    command_id
        What its sender calls it.
    entity, entity_id
        What it is about.
    action
        ``add``, ``change`` or ``remove``.
    expected_version
        The version that its sender knows; 0: the entity is not there.
    said
        Fields, as they were sent.
    status, reason
        ``applied`` or ``rejected``, and why in one line.
    version
        Of the entity after the command; 0: it is not there.
    """

    event_type: ClassVar[str] = METADATA_UNCHANGED

    command_id: str
    entity: str
    entity_id: str
    action: str
    expected_version: int
    said: Mapping[str, Any] = field(default_factory=dict)
    status: str = "rejected"
    reason: str = ""
    version: int = 0

    @property
    def entity_type(self) -> str:
        """What its event is about."""
        return self.entity

    @property
    def result(self) -> Mapping[str, Any]:
        """What is said of the entity afterwards, if the command changed it."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataChange(MetadataCommand):
    """A command that changed something.

    Parameters
    ----------
    body
        All fields of the entity afterwards.
    """

    event_type: ClassVar[str] = METADATA_CHANGED

    after: Mapping[str, Any]

    @property
    def result(self) -> Mapping[str, Any]:
        """What is said of the entity from now on."""
        return self.after

    def control(self) -> dict[str, Any]:
        """Return what the control record says; :class:`pipeline.core.registry.Registry` reads it."""
        return {
            "entity": self.entity,
            "id": self.entity_id,
            "version": self.version,
            "removed": self.action == "remove",
            "body": dict(self.after),
            "changed_ms": self.time_ms,
            "command_id": self.command_id,
        }


def read_command(message: Mapping[str, Any]) -> FactMessage:
    """Return a command; raises :class:`Refused`.

    Examples
    --------
    >>> read_command({"command_id": "c-1", "entity": "valve"})
    Traceback (most recent call last):
    pipeline.core.checks.Refused: entity is 'valve'; send factory, line, machine, sku, shift or maintenance_rule
    """
    command_id, entity = text(message, "command_id"), text(message, "entity")
    if entity not in ENTITIES:
        *names, last = ENTITIES
        raise Refused(Reason.WRONG_SHAPE, f"entity is {shown(entity)}; send {', '.join(names)} or {last}")
    entity_id, action = text(message, "id"), text(message, "action")
    if action not in ACTIONS:
        raise Refused(Reason.WRONG_SHAPE, f"action is {shown(action)}; send add, change or remove")
    said = members(message, "body") if "body" in message or action != "remove" else {}
    rest = {
        "command_id": command_id,
        "entity": entity,
        "entity_id": entity_id,
        "action": action,
        "expected_version": _version(present(message, "expected_version")),
        "said": said,
    }
    names_ = {"command_id": command_id, "id": entity_id}
    # Nobody's device: one that says who it is may speak for itself and for its machines, not about them
    return FactMessage(MetadataCommand, "", "", {"time": text(message, "time")}, names_, rest)


def _version(found: object) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < _MAX_VERSION:
        what = shown(found) if isinstance(found, int | float) else kind_of(found)
        raise Refused(Reason.WRONG_SHAPE, f"expected_version is {what}; send a whole number, 0 if it is not there yet")
    return found


def judge(command: MetadataCommand, registry: Registry) -> MetadataCommand:
    """Return what becomes of a command; what it changes, the registry remembers as on its way.

    Parameters
    ----------
    registry
        Of the partition that the command came to, with all commands before it.
    """
    known = registry.head(command.entity, command.entity_id)
    present_ = known is not None and not known.removed
    command = _about(command, known)
    if known is not None and known.command_id == command.command_id:
        return replace(command, status="applied", reason="it was applied before", version=known.version)
    version = known.version if known is not None and present_ else 0
    body = _merged(command, known.body if known is not None and present_ else {})
    reason = _refusal(command, version, body)
    if reason:
        return replace(command, reason=reason, version=version)
    entity = Entity(
        (known.version if known is not None else 0) + 1,
        command.action == "remove",
        body,
        command.time_ms,
        command.command_id,
    )
    registry.expect(command.entity, command.entity_id, entity)
    given = {each.name: getattr(command, each.name) for each in fields(MetadataCommand)}
    return MetadataChange(**given | {"status": "applied", "version": entity.version}, after=body)


def _about(command: MetadataCommand, known: Entity | None) -> MetadataCommand:
    """Return a command with the machine and the factory that it is about."""
    if command.entity == "factory":
        return replace(command, factory_id=command.entity_id)
    said = command.said.get("factory_id") or (known.body.get("factory_id") if known is not None else None)
    machine_id = command.entity_id if command.entity == "machine" else ""
    return replace(command, machine_id=machine_id, factory_id=said if isinstance(said, str) else "")


def _merged(command: MetadataCommand, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an entity as a command wants them; null takes a field away."""
    if command.action == "remove":
        return dict(before)
    return {key: value for key, value in {**before, **command.said}.items() if value is not None}


def _refusal(command: MetadataCommand, version: int, body: Mapping[str, Any]) -> str:
    if command.expected_version != version:
        now = f"it is {version}" if version else "it is not there"
        return f"expected version {command.expected_version}, {now}: read it again and repeat"
    if command.action == "add" and version:
        return f"there is a {command.entity} {shown(command.entity_id)} already: change it"
    if command.action != "add" and not version:
        return f"there is no {command.entity} {shown(command.entity_id)}: add it"
    return "" if command.action == "remove" else complaint(command.entity, body)

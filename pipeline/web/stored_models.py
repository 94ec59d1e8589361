"""Live models as the registry has them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

import psycopg
import structlog

from pipeline.core.errors import ModelRefused
from pipeline.core.prognosis.artefacts import KnownModels, Model
from pipeline.core.prognosis.model_controls import LIVE
from pipeline.store import models as registry
from pipeline.store.connect import Connection
from pipeline.store.failures import failure
from pipeline.store.models import Group, ModelVersion
from pipeline.web.scoring import ModelRecord

log = structlog.get_logger(__name__)

FRESH_S = 2.0
"""How long it may take until a promotion is noticed, s."""


class StoredModels:
    """The models that are live in a group; each is read once, and all are looked for anew every :data:`FRESH_S`.

    Parameters
    ----------
    connect
        Opens a connection in autocommit mode.
    group
        Whose live models.
    known
        Which models can be worked with.
    """

    def __init__(self, connect: Callable[[], Connection], group: Group, known: KnownModels) -> None:
        self._connect, self._group, self._known = connect, group, known
        self._lock = threading.Lock()
        self._looked_s = float("-inf")
        self._found: dict[tuple[str, str], tuple[ModelRecord, Model | ModelRefused]] = {}

    def find(self, kind: str, machine_type: str) -> tuple[ModelRecord, Model] | None:
        """Return the live model of a kind and a machine type.

        Raises
        ------
        ModelRefused
            If there is one, but it is damaged, or none that this program knows.
        DatabaseUnavailable
            If the database does not answer.
        """
        found = self._current().get((kind, machine_type))
        if found is None:
            return None
        record, model = found
        if isinstance(model, ModelRefused):
            raise ModelRefused(f"{kind} of {machine_type}, version {record.version}: {model}") from model
        return record, model

    def live(self) -> list[tuple[ModelRecord, Model]]:
        """Return all live models that can be asked, by kind and machine type."""
        return [(record, model) for record, model in self._current().values() if not isinstance(model, ModelRefused)]

    def _current(self) -> dict[tuple[str, str], tuple[ModelRecord, Model | ModelRefused]]:
        with self._lock:
            if monotonic() - self._looked_s >= FRESH_S:
                self._found = self._look()
                self._looked_s = monotonic()
            return self._found

    def _look(self) -> dict[tuple[str, str], tuple[ModelRecord, Model | ModelRefused]]:
        read = {record.id: model for record, model in self._found.values()}
        try:
            with self._connect() as connection:
                versions = [each for each in registry.all_of(connection, self._group) if each.stage == LIVE]
                loaded = [read[v.model_id] if v.model_id in read else self._load(connection, v) for v in versions]
        except psycopg.Error as error:
            raise failure(error, "the models were not read") from error
        return {(v.kind, v.machine_type): (_record(v), model) for v, model in zip(versions, loaded, strict=True)}

    def _load(self, connection: Connection, version: ModelVersion) -> Model | ModelRefused:
        try:
            return registry.load(connection, version, self._known)
        except ModelRefused as refused:
            log.warning("model.refused", model_id=version.model_id, model=version.name, reason=str(refused))
            return refused


def _record(version: ModelVersion) -> ModelRecord:
    return ModelRecord(
        version.model_id,
        version.kind,
        version.machine_type,
        version.version,
        version.sha256,
        version.feature_version,
    )

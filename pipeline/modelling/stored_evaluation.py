"""A registered model asked about stored lives of machines that it was not taught."""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline import connections
from pipeline.core.errors import PipelineError
from pipeline.core.prognosis.kinds import KNOWN
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.modelling import learning
from pipeline.modelling.machine_split import SPLIT
from pipeline.modelling.stored_lives import Tell, Wanted, read
from pipeline.modelling.stored_logs import Source
from pipeline.settings import Settings
from pipeline.store import models
from pipeline.store.connect import Connection
from pipeline.store.models import Group, ModelVersion


class StoredEvaluation(NamedTuple):
    """What was measured.

    Parameters
    ----------
    name
        Under which it is kept: of which source, and which event times.
    of_judges
        Whether only machines were asked about that taught the model nothing; else it is not known which it was taught.
    """

    version: ModelVersion
    name: str
    of_judges: bool
    metrics: dict[str, Any]


def evaluate(
    settings: Settings,
    connection: Connection,
    model_id: int,
    *,
    source: Source = "events",
    since_ms: int | None = None,
    until_ms: int | None = None,
    saves: bool = False,
    tell: Tell = lambda _, __, ___: None,
) -> StoredEvaluation:
    """Ask a model about what is stored, as it would have been asked then, and compare with what came.

    Parameters
    ----------
    connection
        In autocommit mode; of a login that may change models, if it ``saves``. What is stored is read under the workers'.
    since_ms, until_ms
        Event times ``[since, until)``, ms since the epoch, UTC; ``None``: no bound.
    saves
        Whether the metrics are noted in the registry too, under the name.

    Raises
    ------
    PipelineError
        If there is no such model, or something cannot be read.
    """
    version = models.find(connection, Group(settings.site.cluster, settings.group), model_id)
    model = models.load(connection, version, KNOWN)
    is_of_messages = isinstance(model, MaintenanceClassModel)
    features, sensors = ((), model.features) if is_of_messages else (model.features, ())
    wanted = Wanted(version.machine_type, features, sensors, source, since_ms, until_ms)
    with connections.database(settings, "pipeline models evaluate") as reading:
        found = read(settings, reading, wanted, tell)
    of_judges = version.training.get("split") == SPLIT
    judges = found.of(judges=True) if of_judges else found
    if not judges.lives and not len(judges.messages.classes):
        raise PipelineError(
            f"nothing is stored that judges {version.name}: no life of a {version.machine_type} that teaches nothing, and no"
            " class; choose another time, with --from and --until"
        )
    metrics = judges.counts() | learning.judged(model, judges.lives, list(range(len(features))), judges.messages)
    name = f"{source} {_bound(since_ms)}..{_bound(until_ms)}"
    if saves:
        models.add_metrics(connection, model_id, {name: metrics})
    return StoredEvaluation(version, name, of_judges, metrics)


def _bound(at_ms: int | None) -> str:
    return "" if at_ms is None else str(at_ms)

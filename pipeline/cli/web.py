"""The command that lets models be asked over HTTP."""

from __future__ import annotations

from functools import partial

from pipeline import connections, logs
from pipeline.cli.interrupts import exit_on_signals
from pipeline.cli.terminal import Factory
from pipeline.core.prognosis.kinds import KNOWN
from pipeline.settings import load
from pipeline.store.migrate import require_schema
from pipeline.store.models import Group
from pipeline.web import scoring, serving
from pipeline.web.stored_models import StoredModels


def web(factory: Factory = None) -> None:
    """Answer rows of features by the live models, over HTTP, until told to stop."""
    exit_on_signals()
    settings = load(factory)
    logs.configure(settings.log.level, settings.log.format)
    token = settings.web.token.get_secret_value()
    connect = partial(connections.database, settings, "pipeline web")
    with serving.listen(settings.web.address, token) as listening:
        with connect() as connection:
            require_schema(connection)
        models = StoredModels(connect, Group(settings.site.cluster, settings.group), KNOWN)
        serving.serve(scoring.create(models, token), listening)

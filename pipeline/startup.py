"""Before a worker starts: the broker answers, its topics are there, the database answers and has its schema."""

from __future__ import annotations

import stamina
import structlog

from pipeline import connections
from pipeline.broker import topics
from pipeline.core.errors import PipelineError
from pipeline.settings import Settings
from pipeline.store.failures import worded
from pipeline.store.migrate import make_partitions, require_schema

log = structlog.get_logger(__name__)

_SHORTEST_TRY_S, _LONGEST_TRY_S = 2.0, 5.0


def wait_for_services(settings: Settings, longest_s: float) -> None:
    """Return when broker and database are ready; a service that may still come up is tried again with backoff.

    Parameters
    ----------
    longest_s
        When to give up, s; 0 tries once.

    Raises
    ------
    PipelineError
        What is wrong, in one line: an address that does not answer, a topic or a migration that is missing.
    """
    stamina.instrumentation.set_on_retry_hooks([_note])
    # The client cannot be interrupted while it asks, so that one try among many is a short one
    answer_s = min(_LONGEST_TRY_S, max(_SHORTEST_TRY_S, longest_s)) if longest_s else topics.ANSWER_S
    attempts = {"attempts": None if longest_s else 1, "timeout": longest_s or None, "wait_max": 5.0}
    for attempt in stamina.retry_context(on=_may_come_up, **attempts):  # type: ignore[arg-type]  # one dict, mixed types
        with attempt:
            require_topics(settings, answer_s)
    for attempt in stamina.retry_context(on=_may_come_up, **attempts):  # type: ignore[arg-type]  # one dict, mixed types
        with attempt:
            _prepare_database(settings)


def require_topics(settings: Settings, timeout_s: float = topics.ANSWER_S) -> None:
    """Check that the broker answers and has the topics that are read and written.

    Parameters
    ----------
    timeout_s
        How long the broker may take to answer, s.

    Raises
    ------
    PipelineError
        Which address does not answer, or which topic is missing.
    """
    topics.require(settings.broker.address, connections.broker_security(settings), settings.all_topics, timeout_s)


def _prepare_database(settings: Settings) -> None:
    opened = connections.database(settings, "pipeline worker", autocommit=True)
    with opened as connection, worded("the database cannot be used"):
        require_schema(connection)
        make_partitions(connection)


def _may_come_up(error: Exception) -> bool:
    return isinstance(error, PipelineError) and error.retriable


def _note(details: stamina.instrumentation.RetryDetails) -> None:
    log.warning("service.waiting", reason=str(details.caused_by), retry_s=round(details.wait_for, 1))

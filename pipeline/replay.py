"""Beginning a replay: which ranges of which logs it is to read, or one clear line why that would be wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pipeline import connections, rules
from pipeline.broker import topics
from pipeline.core.errors import SettingsError
from pipeline.core.marks import LogRange
from pipeline.core.records import SourcePartition
from pipeline.settings import Settings
from pipeline.store import replays
from pipeline.store.connect import connect
from pipeline.store.migrate import require_schema
from pipeline.store.replays import Replay


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What a replay is to be like.

    Parameters
    ----------
    topics
        Full names; empty: all source topics of the settings.
    cold
        Whether it may begin where the logs begin, with models that have learned nothing, though something came before.
    processes
        How many work on it.
    rate
        Messages per second at most, of all processes together; 0: as fast as it goes.
    """

    topics: Sequence[str] = ()
    cold: bool = False
    processes: int = 2
    rate: float = 0.0


def begin(settings: Settings, name: str, options: ReplayOptions) -> Replay:
    """Plan a replay, note it and make its shadow.

    It reads each log from its beginning to what is its end now.

    Raises
    ------
    SettingsError
        If there is one of that name, or a log has lost its beginning.
    PipelineError
        If broker or database do not answer.
    """
    chosen = list(options.topics) or settings.source_topics
    if unknown := set(chosen) - set(settings.source_topics):
        known = ", ".join(settings.source_topics)
        raise SettingsError(f"{', '.join(sorted(unknown))} is no source topic; broker.topics has {known}")
    found = topics.log_ranges(settings.broker.address, connections.broker_security(settings), chosen)
    held = {source: LogRange(*range_) for source, range_ in found.items()}
    if not options.cold:
        _require_beginnings(held)
    dsn = settings.admin_dsn
    with connect(dsn, autocommit=True, application_name="pipeline replay") as connection:
        require_schema(connection)
        return replays.create(connection, name, rules.progress(settings, f"replay-{name}"), held, asdict(options))


def extend(settings: Settings, replay: Replay) -> None:
    """Let a replay go on to what is its logs' end now, and read partitions that have come since.

    Raises
    ------
    PipelineError
        If broker or database do not answer.
    """
    chosen = list(replay.options["topics"]) or settings.source_topics
    found = topics.log_ranges(settings.broker.address, connections.broker_security(settings), chosen)
    held = {source: LogRange(*range_) for source, range_ in found.items()}
    with connect(settings.admin_dsn, autocommit=True, application_name="pipeline replay") as connection:
        replays.extend(connection, replay, rules.progress(settings, f"replay-{replay.name}"), held)


def _require_beginnings(held: Mapping[SourcePartition, LogRange]) -> None:
    """Check that nothing is missing before what the logs hold: the fold's state depends on all that came before."""
    cut = {source: start for source, (start, _) in sorted(held.items()) if start > 0}
    if cut:
        source, start = next(iter(cut.items()))
        raise SettingsError(
            f"{len(cut)} log(s) have lost their beginning, first {source}, which has offsets from {start} on; a replay of"
            " the rest begins with models that have learned nothing: say --cold if that is what you want"
        )

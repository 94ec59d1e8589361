"""Beginning a replay: what of which partitions it is to read and from where, or one clear line why that would be wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from pipeline import connections, rules
from pipeline.broker import topics
from pipeline.core.errors import SettingsError
from pipeline.core.marks import LogRange
from pipeline.core.records import SourcePartition
from pipeline.history import StoredHistory
from pipeline.replaying import stretches
from pipeline.replaying.replays import Replay
from pipeline.replaying.stretches import Stretch, nearest_state, stored_to
from pipeline.settings import Settings
from pipeline.store.connect import Connection, connect
from pipeline.store.migrate import require_schema
from pipeline.store.progress import Progress


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What a replay is to be like.

    Parameters
    ----------
    topics
        Full names; empty: all source topics of the settings.
    cold
        Whether it may begin where the logs begin, with models that have learned nothing, though something came before.
    stored
        Whether to read what is stored instead of the logs, as far as that goes.
    from_offset, to_offset
        Offsets ``[from, to)`` of every partition whose effects are wanted.
    factories, machines, since_ms, until_ms
        See :class:`pipeline.core.selection.Selection`.
    config
        File of settings instead of the usual one.
    processes
        How many work on it.
    rate
        Messages per second at most, of all processes together; 0: as fast as it goes.
    """

    topics: Sequence[str] = ()
    cold: bool = False
    stored: bool = False
    from_offset: int | None = None
    to_offset: int | None = None
    factories: Sequence[str] = ()
    machines: Sequence[str] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    config: str | None = None
    processes: int = 2
    rate: float = 0.0


def begin(settings: Settings, name: str, options: ReplayOptions) -> Replay:
    """Plan a replay, note it and make its shadow.

    It reads each partition from the beginning, or from the nearest state that was kept, to what is its log's end now.

    Raises
    ------
    SettingsError
        If there is one of that name, or what it would have to read is nowhere.
    PipelineError
        If broker or database do not answer.
    """
    held = _held(settings, options.topics)
    with connect(settings.admin_dsn, autocommit=True, application_name="pipeline replay") as connection:
        require_schema(connection)
        progress = rules.progress(settings, f"replay-{name}")
        stored = stored_to(connection, progress)
        held = _ruled(connection, progress, held, stored)
        planned = {}
        for source, range_ in held.items():
            state_at = _state(connection, settings, source, options)
            planned[source] = _stretch(source, range_, stored.get(source), options, state_at)
        _require_whole(connection, settings, planned)
        return stretches.create(connection, name, progress, planned, asdict(options))


def extend(settings: Settings, replay: Replay) -> None:
    """Let a replay go on to what is its logs' end now, and read partitions that have come since.

    Raises
    ------
    PipelineError
        If broker or database do not answer, or what it would have to read is nowhere.
    """
    options = ReplayOptions(**replay.options)
    held = _held(settings, options.topics)
    with connect(settings.admin_dsn, autocommit=True, application_name="pipeline replay") as connection:
        progress = rules.progress(settings, f"replay-{replay.name}")
        stored = stored_to(connection, progress)
        held = _ruled(connection, progress, held, stored)
        later = replace(options, stored=False)
        far = {each.source: each for each in stretches.progress_of(connection, replay)}
        planned = {}
        for source, range_ in held.items():
            at = min(far[source].effects, far[source].windows) if source in far else 0
            planned[source] = _stretch(source, range_, stored.get(source), later, at)
        _require_whole(connection, settings, planned)
        stretches.extend(connection, replay, progress, planned)


def go_on(settings: Settings, replay: Replay) -> None:
    """Let a replay read what its logs have lost meanwhile from what is stored.

    Raises
    ------
    PipelineError
        If broker or database do not answer, or what it would have to read is nowhere.
    """
    options = ReplayOptions(**replay.options)
    if options.cold:
        return
    held = _held(settings, options.topics)
    with connect(settings.admin_dsn, autocommit=True, application_name="pipeline replay") as connection:
        progress = rules.progress(settings, f"replay-{replay.name}")
        stored = stored_to(connection, progress)
        held = _ruled(connection, progress, held, stored)
        planned = {}
        for each in stretches.progress_of(connection, replay):
            source, at = each.source, min(each.effects, each.windows)
            if each.left and source in held and held[source].start > max(at, each.stored_to):
                planned[source] = replace(_stretch(source, held[source], stored.get(source), options, at), end=0)
            elif each.left and at < each.stored_to:
                planned[source] = Stretch(0, 0, stored_to=each.stored_to)
        _require_whole(connection, settings, planned)
        stretches.extend(connection, replay, progress, planned)


def _require_whole(connection: Connection, settings: Settings, planned: Mapping[SourcePartition, Stretch]) -> None:
    if sources := [source for source, each in planned.items() if each.stored_to]:
        StoredHistory(settings).require_whole(connection, sources)


def _ruled(
    connection: Connection,
    progress: Progress,
    held: Mapping[SourcePartition, LogRange],
    stored: Mapping[SourcePartition, int],
) -> dict[SourcePartition, LogRange]:
    """Return of what logs hold as much as can be folded now.

    Where the live run has not read yet, the next control record may take effect: nobody knows by which rules it will be folded.
    """
    if not stretches.has_controls(connection, progress):
        return dict(held)
    ends = {source: min(each.end, max(each.start, stored.get(source, 0))) for source, each in held.items()}
    return {source: each._replace(end=ends[source]) for source, each in held.items()}


def _held(settings: Settings, wanted: Sequence[str]) -> dict[SourcePartition, LogRange]:
    chosen = list(wanted) or settings.source_topics
    if unknown := set(chosen) - set(settings.source_topics):
        names = ", ".join(settings.source_topics)
        raise SettingsError(f"{', '.join(sorted(unknown))} is no source topic; broker.topics has {names}")
    found = topics.log_ranges(settings.broker.address, connections.broker_security(settings), chosen)
    return {source: LogRange(*range_) for source, range_ in found.items()}


def _stretch(
    source: SourcePartition, held: LogRange, stored: int | None, options: ReplayOptions, begins: int
) -> Stretch:
    """Return what of a partition is read, and up to where from what is stored.

    Parameters
    ----------
    stored
        Offset before which everything is stored; ``None``: nothing is.
    begins
        Where reading begins: at a state that was kept, or at the beginning.
    """
    if options.cold:
        return _limited(Stretch(held.start, held.end, counted_from=held.start), options)
    if options.stored:
        return _limited(Stretch(0, stored or 0, stored_to=stored or 0), options, begins)
    if held.start <= begins:
        return _limited(Stretch(0, held.end), options, begins)
    if stored is None or stored < held.start:
        where = "nothing of it is stored" if stored is None else f"what is stored ends at {stored}"
        raise SettingsError(
            f"the log of {source} has lost its beginning: it has offsets from {held.start} on, and {where}; a replay of the"
            " rest begins with models that have learned nothing: say --cold if that is what you want"
        )
    # As far as it goes: the log's start may move on while it is read
    return _limited(Stretch(0, held.end, stored_to=stored), options, begins)


def _limited(stretch: Stretch, options: ReplayOptions, state_at: int = 0) -> Stretch:
    """Return a stretch between the offsets that are wanted, from a state on."""
    end = stretch.end if options.to_offset is None else min(stretch.end, options.to_offset)
    if options.from_offset is None and options.since_ms is None:
        return replace(stretch, end=end, first=min(stretch.first, end), counted_from=min(stretch.counted_from, end))
    state_at = state_at if stretch.counted_from <= state_at <= end else stretch.counted_from
    first = state_at if options.from_offset is None else min(end, max(stretch.first, options.from_offset))
    return replace(stretch, end=end, first=first, counted_from=first, state_at=min(state_at, first))


def _state(connection: Connection, settings: Settings, source: SourcePartition, options: ReplayOptions) -> int:
    """Return the offset of the nearest state that was kept before what is wanted; 0: none, or everything is wanted."""
    if options.cold or (options.from_offset is None and options.since_ms is None):
        return 0
    before = None
    if options.since_ms is not None:
        # What is measured later than this, reached the broker later
        ingested_ms = max(0, options.since_ms - settings.ingest.max_future_ms)
        before = dt.datetime.fromtimestamp(ingested_ms / 1000, dt.UTC)
    return nearest_state(connection, rules.progress(settings, ""), source, options.from_offset, before) or 0

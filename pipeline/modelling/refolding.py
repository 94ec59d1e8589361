"""What one message led to, worked out again: its partition is folded in memory from a kept state up to it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline import connections, rules
from pipeline.core.controls import PlacedControl
from pipeline.core.effects import Effects
from pipeline.core.errors import NotReproducible, SettingsError
from pipeline.core.fold import FoldRules
from pipeline.core.records import RecordBatch, SourcePartition, StoredEvents
from pipeline.core.state import PartitionState
from pipeline.history import StoredHistory
from pipeline.settings import Settings
from pipeline.store import controls, lineage
from pipeline.store.connect import Connection
from pipeline.store.history import stored_events
from pipeline.store.lineage import Derived, KeptState, OfReplay, Versions
from pipeline.store.progress import Progress
from pipeline.store.takeover import Acquired
from tables.loading import Stored, batches, lenient, load

Told = Callable[[int, int], None]
"""Told how many offsets are folded, and of how many."""


@dataclass(frozen=True, slots=True)
class Refolded:
    """A partition up to a message, and what that led to.

    Parameters
    ----------
    from_offset
        Where folding began: at a state that was kept, or at the beginning, 0.
    events
        How many stored messages were folded.
    effects
        Of the message, and of the control records behind it.
    state
        After it.
    note
        What is not as it was then, in one line; empty: nothing is known to be.
    """

    from_offset: int
    events: int
    effects: list[Effects]
    state: PartitionState
    note: str


class _Origin(NamedTuple):
    stored: Stored
    notes: list[str]


def refold(settings: Settings, connection: Connection, found: Derived, told: Told = lambda *_: None) -> Refolded:
    """Fold a partition in memory up to the message in which something was found, by the present rules.

    It is what a worker does that takes over a partition whose log is gone: state, stored events and recorded places of control
    records are read as :func:`tables.loading.load` reads them, and no lease is taken.

    Parameters
    ----------
    connection
        In autocommit mode.

    Raises
    ------
    NotReproducible
        If what it takes is not there any more.
    """
    source, offset, progress = found.source, found.source_offset, rules.progress(settings, "lineage")
    replay = lineage.replay_of(connection, found.worker)
    versions = lineage.versions_at(connection, progress, source, offset)
    if versions is None:
        raise NotReproducible(
            f"the group {progress.subscriber.group} has not read {source}: name the --factory whose workers have"
        )
    notes = _differences(progress, versions) if replay is None else _of_replay(progress, replay)
    # What workers kept is no state of a replay that began at the beginning
    kept = (
        None if replay is not None and replay.is_whole else lineage.state_before(connection, progress, source, offset)
    )
    origin = _origin(settings, connection, progress, found, kept)
    begin = 0 if kept is None else kept.offset
    counted = _Counted(origin.stored, begin, offset + 1, told)
    placed = controls.placed(connection, progress, source)
    effects, state = _folded(source, offset, rules.fold_rules(settings), kept, placed, counted)
    return Refolded(begin, counted.events, effects, state, "; ".join([*notes, *origin.notes]))


def _differences(progress: Progress, versions: Versions) -> list[str]:
    """Return in which ways the fold is not that of then."""
    notes = []
    if versions.fold != progress.fold_version:
        notes.append(
            f"it was found by version {versions.fold} of the fold, and this is version {progress.fold_version}"
        )
    if versions.rules and versions.rules != progress.config_version:
        notes.append(
            f"it was found by the rules {versions.rules}, and those of the settings are {progress.config_version}"
        )
    return notes


def _of_replay(progress: Progress, replay: OfReplay) -> list[str]:
    if replay.versions is None:
        return [f"it was found by the replay {replay.name}, which was dropped: nobody knows by which rules"]
    begun = [] if replay.is_whole else [f"it was found by the replay {replay.name}, which began elsewhere"]
    return begun + _differences(progress, replay.versions)


def _folded(
    source: SourcePartition,
    offset: int,
    fold_rules: FoldRules,
    kept: KeptState | None,
    placed: Sequence[PlacedControl],
    stored: _Counted,
) -> tuple[list[Effects], PartitionState]:
    """Return what the record at an offset, and the control records behind it, led to, and the state after them."""
    before = sum(each.offset <= offset for each in placed)
    taken = Acquired(
        owner="",
        # Nobody owns it; that somebody did is why there are stored events
        previous_owner="",
        effects=offset,
        windows=offset,
        snapshot=None if kept is None else (kept.offset, kept.state),
        skip={},
        controls_mark=before,
        windows_controls=before,
    )
    partition = load(
        source,
        taken,
        offset,
        fold_rules,
        stored,
        lambda: True,
        lambda _, first: [each for each in placed if each.ordinal >= first],
    )
    for records in batches(stored(source, offset, offset + 1)):
        batch = RecordBatch(source, "", partition.position, offset + 1, records)
        partition.fold(batch, lenient(fold_rules))
    partition.move_to(offset + 1, fold_rules)
    return list(partition.pending), partition.state


class _Counted:
    """Stored events that are counted while they are read."""

    def __init__(self, stored: Stored, begin: int, end: int, told: Told) -> None:
        self._stored, self._begin, self._end, self._told = stored, begin, end, told
        self.events = 0

    def __call__(self, source: SourcePartition, first: int, end: int) -> Iterator[StoredEvents]:
        for events in self._stored(source, first, end):
            if len(events):
                self.events += len(events)
                self._told(int(events.offsets[-1]) + 1 - self._begin, self._end - self._begin)
            yield events


def _origin(
    settings: Settings, connection: Connection, progress: Progress, found: Derived, kept: KeptState | None
) -> _Origin:
    """Return where to begin, and where to read from there on."""
    history = StoredHistory(settings)
    try:
        history.require_whole(connection, [found.source])
    except SettingsError as error:
        missing = str(error).partition(": ")[0]
        if kept is None:
            raise NotReproducible(
                f"no state of {found.source} from before offset {found.source_offset} was kept that would do, and it cannot be"
                f" folded from its beginning: {missing}"
            ) from error
        return _Origin(_of_table(settings, progress), [f"{missing}; folded is what the table has since {_at(kept)}"])
    return _Origin(history.events, [])


def _at(kept: KeptState) -> str:
    return f"{kept.taken_at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}Z"


def _of_table(settings: Settings, progress: Progress) -> Stored:
    def stored(source: SourcePartition, first: int, end: int) -> Iterator[StoredEvents]:
        with connections.database(settings, "pipeline models", autocommit=False) as connection:
            yield from stored_events(connection, progress, source, first, end)

    return stored

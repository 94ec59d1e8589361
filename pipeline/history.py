"""What is stored of source partitions, as one log: from the archive as far as it goes, then from the table ``event``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from pipeline import connections, rules
from pipeline.archive import superseded
from pipeline.archive.place import Place
from pipeline.archive.reader import Archive
from pipeline.core.errors import PipelineError, SettingsError
from pipeline.core.records import SourcePartition, StoredEvents
from pipeline.core.selection import Selection
from pipeline.settings import Settings
from pipeline.store.connect import SCHEMA, Connection
from pipeline.store.failures import worded
from pipeline.store.history import carry_dead_letters, log_since, portions, stored_events

_DROPPED = f"SELECT dropped_before, not_archived_before FROM {SCHEMA}.retention_mark WHERE table_name = 'event'"
_STATE = f"""
SELECT (SELECT dropped_before FROM {SCHEMA}.retention_mark WHERE table_name = 'event'),
       (SELECT max(greatest(promoted_at, undone_at)) FROM {SCHEMA}.promotion)
"""


class HistoryChanged(PipelineError):
    """Stored events were dropped or promoted while they were read: ask again, and all is looked at anew."""

    retriable = True


class StoredHistory:
    """Stored events of the live tables, by source partition and offset."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._progress = rules.progress(settings, "")
        self._seen: Sequence[object] | None = None

    @cached_property
    def _place(self) -> Place | None:
        return Place(self._settings.archive.address) if self._settings.archive.address else None

    @cached_property
    def _archive(self) -> Archive | None:
        return Archive(self._place) if self._place is not None else None

    def require_whole(self, connection: Connection, sources: Sequence[SourcePartition]) -> None:
        """Check that everything that was ever stored of partitions can be read.

        Raises
        ------
        SettingsError
            If it cannot: the text says what is missing.
        ArchiveUnavailable, ArchiveDamaged
            If the archive cannot be read.
        """
        row = connection.execute(_DROPPED).fetchone()
        if self._place is not None and (news := superseded.changed(self._place, superseded.states(connection))):
            raise SettingsError(f"the archive does not know of promotion {news[0]} yet: run `pipeline archive` first")
        if row is None:
            return
        dropped, for_good = row
        if for_good is not None:
            raise SettingsError(
                f"events from before {for_good:%Y-%m-%d %H:%M}Z were dropped without an archive: a replay of the rest begins"
                " with models that have learned nothing; say --cold if that is what you want"
            )
        if self._archive is None:
            raise SettingsError(
                f"events from before {dropped:%Y-%m-%d %H:%M}Z are in an archive: say where, in archive.address"
            )
        for source in sources:
            since = log_since(connection, self._progress, source)
            found = self._archive.ranges(self._progress.subscriber.cluster, source, since)
            if len(found) > 1 or (found and found[0][0] != 0):
                held = ", ".join(f"[{begin}, {end})" for begin, end in found)
                raise SettingsError(
                    f"the archive at {self._settings.archive.address} has {held} of {source}, and the table may no longer have"
                    " what is missing"
                )
            if self._archive.has_rows_behind(source, found[0][1] if found else 0):
                raise SettingsError(f"the archive has rows of {source} in no order yet: run `pipeline archive` first")

    def events(self, source: SourcePartition, first: int, end: int) -> Iterator[StoredEvents]:
        """Yield what is stored of the offsets ``[first, end)``, in order, some at a time; blocks.

        Raises
        ------
        DatabaseUnavailable, ArchiveUnavailable
            If they do not answer.
        ArchiveDamaged
            If a file is not what was written.
        """
        opened = connections.database(self._settings, "pipeline replay", autocommit=False)
        with opened as connection, worded(f"what is stored of {source} is not known"):
            self._look_anew(connection, source)
            at, cluster = first, self._progress.subscriber.cluster
            if self._archive is not None:
                since = log_since(connection, self._progress, source)
                # What is read from an archive may take long: no transaction stays open meanwhile
                connection.commit()
                for begin, to in self._archive.ranges(cluster, source, since):
                    if begin <= at < min(to, end):
                        yield from self._archive.events(cluster, source, at, min(to, end), since)
                        at = min(to, end)
            yield from self._of_table(connection, source, at, end)

    def _of_table(
        self, connection: Connection, source: SourcePartition, first: int, end: int
    ) -> Iterator[StoredEvents]:
        for at, to in portions(first, end):
            found = stored_events(connection, self._progress, source, at, to)
            some = next(found, None)
            # What is dropped from now on is still seen; of what was dropped before, it was noted before
            if self._state(connection) != self._seen:
                raise HistoryChanged(f"stored events changed while those of {source} were read: looking anew")
            if some is not None:
                yield some
            yield from found
            connection.commit()

    def _look_anew(self, connection: Connection, source: SourcePartition) -> None:
        """See what is archived by now, if anything was dropped or promoted since it was seen."""
        state = self._state(connection)
        if state != self._seen:
            self.__dict__.pop("_archive", None)
            self.require_whole(connection, [source])
            self._seen = state
        connection.commit()

    def _state(self, connection: Connection) -> Sequence[object]:
        return connection.execute(_STATE).fetchone() or ()

    def carry_dead_letters(self, schema: str, source: SourcePartition, end: int, selection: Selection) -> None:
        """Copy what is wanted of the dead letters from a shadow's effects mark to an offset into it; blocks.

        What is stored as events holds none.
        """
        if selection.is_owned:
            return
        opened = connections.database(self._settings, "pipeline replay")
        with opened as connection, worded(f"the dead letters of {source} were not copied"):
            carry_dead_letters(connection, self._progress, schema, source, end, selection)

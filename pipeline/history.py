"""What is stored of source partitions, as one log: from the archive where it has them, else from the table ``event``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from pipeline import connections, rules
from pipeline.core.records import SourcePartition, StoredEvent
from pipeline.core.selection import Selection
from pipeline.settings import Settings
from pipeline.store.failures import failure
from pipeline.store.history import carry_dead_letters, stored_events

_OFFSETS_AT_ONCE = 200_000
"""The server sorts what it gives: as much as this holds."""


class StoredHistory:
    """Stored events of the live tables, by source partition and offset."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._progress = rules.progress(settings, "")

    def events(self, source: SourcePartition, first: int, end: int) -> Iterator[Sequence[StoredEvent]]:
        """Yield what is stored of the offsets ``[first, end)``, in order, some at a time; blocks.

        Raises
        ------
        DatabaseUnavailable
            If the database does not answer.
        """
        with connections.database(self._settings, "pipeline replay", autocommit=False) as connection:
            for at in range(first, end, _OFFSETS_AT_ONCE):
                try:
                    yield from stored_events(connection, self._progress, source, at, min(end, at + _OFFSETS_AT_ONCE))
                except psycopg.Error as error:
                    raise failure(error, f"the stored events of {source} were not read") from error

    def carry_dead_letters(
        self, schema: str, source: SourcePartition, offsets: tuple[int, int], selection: Selection
    ) -> None:
        """Copy what is wanted of the dead letters of the offsets ``[first, end)`` into a shadow; blocks.

        What is stored as events holds none.
        """
        if selection.is_owned:
            return
        with connections.database(self._settings, "pipeline replay") as connection:
            try:
                carry_dead_letters(connection, self._progress, schema, source, offsets, selection)
            except psycopg.Error as error:
                raise failure(error, f"the dead letters of {source} were not copied") from error

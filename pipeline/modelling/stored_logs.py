"""What is stored of source partitions, for whoever learns from it: events in order, control records, maintenance records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pipeline import connections, rules
from pipeline.core.controls import MODEL, PlacedControl
from pipeline.core.errors import SettingsError
from pipeline.core.records import SourcePartition, StoredEvents
from pipeline.history import StoredHistory
from pipeline.modelling.labelled import Maintenance
from pipeline.replaying.stretches import stored_to
from pipeline.settings import Settings
from pipeline.store import controls
from pipeline.store.connect import Connection
from pipeline.store.failures import worded
from pipeline.store.history import portions, stored_events

Source = Literal["events", "archive"]
"""From where: the table ``event`` as far back as it goes, or the archive, and behind it the table."""

_FIRST = """
SELECT min(source_offset) FROM event WHERE source_topic = %(topic)s AND source_partition = %(partition)s
"""

_MAINTENANCE = """
SELECT DISTINCT machine_id, (extract(epoch FROM event_time) * 1000)::bigint, kind, component, class FROM maintenance_record
WHERE cluster = %(cluster)s
ORDER BY 2, 1, 3, 4, 5
"""

# One odd machine has no say in what the others have in common
_SENSORS = """
WITH mine AS (SELECT machine_id, readings FROM machine_state WHERE machine_type = %(machine_type)s)
SELECT sensor FROM mine CROSS JOIN jsonb_object_keys(readings) AS sensor
GROUP BY sensor HAVING count(DISTINCT machine_id) >= .9 * (SELECT count(DISTINCT machine_id) FROM mine) ORDER BY sensor
"""


class StoredLogs:
    """What a group has stored of its source partitions."""

    def __init__(self, settings: Settings, source: Source = "events") -> None:
        self._settings, self._source = settings, source
        self._progress = rules.progress(settings, "")
        if source == "archive" and not settings.archive.address:
            raise SettingsError("there is no archive to read: say where it is, in archive.address")
        self._history = StoredHistory(settings)

    def ends(self, connection: Connection) -> dict[SourcePartition, int]:
        """Return for each partition the offset before which everything is stored, in order.

        Raises
        ------
        SettingsError
            If what is to be read is nowhere.
        """
        found = dict(sorted(stored_to(connection, self._progress).items()))
        if self._source == "archive":
            self._history.require_whole(connection, list(found))
        return found

    def events(self, source: SourcePartition, end: int) -> Iterator[StoredEvents]:
        """Yield what is stored of a partition before an offset, in order, some at a time.

        Raises
        ------
        DatabaseUnavailable, ArchiveUnavailable
            If they do not answer.
        """
        if self._source == "archive":
            yield from self._history.events(source, 0, end)
            return
        opened = connections.database(self._settings, "pipeline models train", autocommit=False)
        with opened as connection, worded(f"what is stored of {source} is not known"):
            (first,) = connection.execute(_FIRST, self._progress.key(source)).fetchone() or (None,)
            for at, to in portions(end if first is None else first, end):
                yield from stored_events(connection, self._progress, source, at, to)
                connection.commit()

    def controls(self, connection: Connection, source: SourcePartition) -> list[PlacedControl]:
        """Return the control records that a partition applied, where it did; models that predicted are left out."""
        placed = controls.placed(connection, self._progress, source)
        return [each for each in placed if each.control.kind != MODEL]

    def maintenance(self, connection: Connection) -> list[Maintenance]:
        """Return all maintenance records that are kept, by event time."""
        rows = connection.execute(_MAINTENANCE, self._progress.of_all()).fetchall()
        return [Maintenance(*row) for row in rows]


def sensors_of(connection: Connection, machine_type: str) -> list[str]:
    """Return the names of the sensors that at least nine in ten machines of a type have, sorted."""
    return [name for (name,) in connection.execute(_SENSORS, {"machine_type": machine_type})]

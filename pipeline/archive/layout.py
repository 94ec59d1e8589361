"""Names: of logs, folders, data files and manifests."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from typing import NamedTuple
from urllib.parse import quote

from pipeline.core.records import SourcePartition

MANIFESTS = "manifest"
PENDING = "pending"
EVENTS = "event"
SUPERSEDED = "superseded"
SUPERSEDED_MANIFEST = f"{MANIFESTS}/superseded.json"
COMPARED = "compared.json"

_LONGEST_NAME = 180
"""Characters of a folder's name; most file systems take 255 bytes."""


class SourceLog(NamedTuple):
    """The log of one source partition since it began: a recreated topic is another log, whose offsets begin anew.

    Parameters
    ----------
    since
        ``source_progress.log_since``, UTC; ``None``: since ever.
    """

    cluster: str
    topic: str
    partition: int
    since: dt.datetime | None

    @property
    def source(self) -> SourcePartition:
        """The partition, whichever log it is of."""
        return SourcePartition(self.topic, self.partition)

    @property
    def since_us(self) -> int:
        """When it began, µs since the epoch; less than any time if since ever."""
        return -(2**63) if self.since is None else microseconds(self.since)

    @property
    def slug(self) -> str:
        """A name for files: readable, short, and of this log alone.

        Examples
        --------
        >>> log = SourceLog("local", "telemetry.machine", 3, None)
        >>> log.slug
        'telemetry.machine-3-93fa925823c0af47'
        >>> log.slug == log._replace(cluster="other").slug
        False
        """
        since = self.since.astimezone(dt.UTC).isoformat() if self.since else ""
        whole = f"{self.cluster}\0{self.topic}\0{self.partition}\0{since}"
        return f"{self.topic[:80]}-{self.partition}-{_digest(whole)}"


def microseconds(at: dt.datetime) -> int:
    """Return an instant in µs since the epoch, exactly."""
    return (at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def slice_name(log: SourceLog, first: int, end: int) -> str:
    """Return the name of what holds the offsets ``[first, end)`` of a log; names sort as offsets do."""
    return f"{log.slug}/{first:019d}-{end:019d}"


def remainder_name(source: SourcePartition, at: dt.datetime) -> str:
    """Return a name that no other remainder has."""
    return f"remainder/{at:%Y%m%dT%H%M%S}-{source.topic[:80]}-{source.partition}-{secrets.token_hex(4)}"


def data_path(name: str, factory_id: str, day: dt.date) -> str:
    """Return where the rows of one factory and day lie.

    Examples
    --------
    >>> data_path("t-3-0a/0000000000000000005-0000000000000000007", "Aurora / 1", dt.date(2026, 11, 21))
    'event/factory=Aurora%20%2F%201/day=2026-11-21/t-3-0a-0000000000000000005-0000000000000000007.parquet'
    """
    return f"{EVENTS}/factory={factory_folder(factory_id)}/day={day.isoformat()}/{name.replace('/', '-')}.parquet"


def factory_folder(factory_id: str) -> str:
    """Return a factory's id as a part of a path, as Hive quotes it; a very long one is cut, and ends in its digest.

    The column ``factory_id`` always has it whole.

    Examples
    --------
    >>> factory_folder("aurora"), factory_folder("a/b=c"), factory_folder("")
    ('aurora', 'a%2Fb%3Dc', '__HIVE_DEFAULT_PARTITION__')
    >>> len(factory_folder("☃" * 128))
    176
    """
    quoted = quote(factory_id, safe=" ").replace("~", "%7E").replace(" ", "%20")
    if not quoted:
        return "__HIVE_DEFAULT_PARTITION__"
    if len(quoted) <= _LONGEST_NAME:
        return quoted
    cut = quoted[: _LONGEST_NAME - 20]
    # No escape is cut in two
    whole = cut[: cut.rfind("%")] if "%" in cut[-2:] else cut
    return f"{whole}~{_digest(factory_id)}"


def manifest_path(name: str) -> str:
    """Return where the manifest of a slice or remainder lies."""
    return f"{MANIFESTS}/{name}.json"


def pending_path(name: str) -> str:
    """Return where it is noted which files are being written."""
    return f"{PENDING}/{name}.json"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

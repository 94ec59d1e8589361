"""What is asked: by a ledger or not, and which part of what is stored."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is judged; by default everything.

    Parameters
    ----------
    since, until
        Event times ``[since, until)``, with a zone; windows that are partly outside are not compared.
    machines
        Machine ids; empty: all.
    factory
        Id of a factory; empty: all.

    Raises
    ------
    SettingsError
        If nothing can be between since and until.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    machines: tuple[str, ...] = ()
    factory: str = ""

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise SettingsError(
                f"the range is empty: --since {self.since.isoformat()} is not before --until {self.until.isoformat()}"
            )

    @property
    def are_open(self) -> bool:
        """Whether nothing is left out."""
        return self == Bounds()

    @property
    def are_timeless(self) -> bool:
        """Whether all event times are judged."""
        return self.since is None and self.until is None

    @property
    def until_ms(self) -> int | None:
        """First ms since the epoch, UTC, that is not judged any more."""
        return _ms(self.until)


@dataclass(frozen=True, slots=True)
class Retained:
    """What retention may have dropped because of its age; ``None``: nothing.

    Parameters
    ----------
    since
        Event time from which on events and windows are all there.
    letters_since
        When the oldest dead letters were stored that are all there.
    """

    since: dt.datetime | None = None
    letters_since: dt.datetime | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing was dropped."""
        return self == Retained()

    @property
    def letters_ms(self) -> int | None:
        """First ms since the epoch, UTC, whose dead letters are all there."""
        return _ms(self.letters_since)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Parameters
    ----------
    ledger
        What the simulator wrote; ``None``: the tables are judged by themselves.
    group
        Consumer group whose dead letters and progress count, with a ledger.
    window_ms
        Length of windows, ms.
    delay_ms
        How long after a window's end its readings are on time, ms; ``None``: late messages are not counted.
    retained
        What is there to be judged.

    Raises
    ------
    SettingsError
        If nothing within the bounds is there any more.
    """

    ledger: Path | None
    group: str
    window_ms: int
    delay_ms: int | None
    bounds: Bounds
    retained: Retained = Retained()

    def __post_init__(self) -> None:
        since, until = self.retained.since, self.bounds.until
        if since is not None and until is not None and until <= since:
            raise SettingsError(
                f"events from before {since.isoformat()} may have been dropped because of their age: nothing before --until"
                f" {until.isoformat()} can be judged"
            )

    @property
    def since(self) -> dt.datetime | None:
        """Event time from which on is judged."""
        return max(filter(None, (self.bounds.since, self.retained.since)), default=None)

    @property
    def since_ms(self) -> int | None:
        """First ms since the epoch, UTC, that is judged."""
        return _ms(self.since)

    @property
    def is_timeless(self) -> bool:
        """Whether all event times are judged."""
        return self.since is None and self.bounds.until is None

    @property
    def parameters(self) -> dict[str, Any]:
        """What the statements of :mod:`pipeline.verifying.queries` are given."""
        return {
            "group": self.group,
            "by_ledger": self.ledger is not None,
            "topics": None,
            "since": self.since,
            "until": self.bounds.until,
            "machines": list(self.bounds.machines) or None,
            "factory": self.bounds.factory or None,
            "window_ms": self.window_ms,
        }


def _ms(at: dt.datetime | None) -> int | None:
    """Return the first whole ms that is not before an instant."""
    return None if at is None else -((_EPOCH - at) // dt.timedelta(milliseconds=1))

"""Effectiveness and yields by shift and day: summed up anew where reports or calendars changed."""

from __future__ import annotations

from pipeline.store.connect import Connection
from pipeline.store.failures import worded

MOST = 250
"""Changes that one transaction deals with, most of them a report; so that it lasts about a second at most."""


def refresh(connection: Connection, most: int = MOST) -> int:
    """Sum up anew what changed, the newest first; return how many changes that were.

    Call it until it returns 0: then nothing is left, or somebody else is at it. Nobody who stores or asks is held up.

    Parameters
    ----------
    most
        Changes that are dealt with in this call; at least 1.

    Raises
    ------
    DatabaseUnavailable
        If the database does not answer.
    """
    with worded("effectiveness and yields were not brought up to date"):
        row = connection.execute("SELECT refresh_oee(%s)", [most]).fetchone()
    assert row is not None  # noqa: S101  # a function call always gives a row
    return int(row[0])

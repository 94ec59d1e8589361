"""Instants as options name them."""

from __future__ import annotations

import typer

from pipeline.core.times import END_MS, parse_times


def instant(option: str, text: str | None) -> int | None:
    """Return the instant that an option names, ms since the epoch, UTC; ``None``: it names none.

    Raises
    ------
    typer.BadParameter
        If it is no time with a zone, or none that an event may have.
    """
    if text is None:
        return None
    at_ms = int(parse_times([text])[0])
    if not 0 <= at_ms < END_MS:
        raise typer.BadParameter(f"{option} is {text!r}; write ISO 8601 with its zone, such as 2026-11-21T22:00:00Z")
    return at_ms

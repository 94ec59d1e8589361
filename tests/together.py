"""Cases of a parametrized test that are played side by side, because each of them mostly waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

MODULES = (
    "tests/crash/test_crash_points.py",
    "tests/modelling/test_training.py",
    "tests/sabotage/test_sabotage.py",
    "tests/system/test_replay.py",
    "tests/system/test_replay_sources.py",
)
"""Whose tests have much in common that is made once, and so belong into one process."""


@contextmanager
def together(
    request: pytest.FixtureRequest, parameter: str, play: Callable[[Any], Any], at_once: int
) -> Iterator[dict[Any, Future[Any]]]:
    """Play every case of the requesting module that this run asks for; each test then has to look at its own outcome.

    All tests of the module run in one process, or others would play all of them once more: see :data:`MODULES`.

    Parameters
    ----------
    parameter
        Name of the tests' parameter that is the case.
    at_once
        How many are played at the same time.
    """
    with ThreadPoolExecutor(at_once) as pool:
        playing = {case: pool.submit(play, case) for case in asked_for(request, parameter)}
        try:
            yield playing
        finally:
            for outcome in playing.values():
                outcome.cancel()


def asked_for(request: pytest.FixtureRequest, parameter: str) -> list[Any]:
    """Return the values of a parameter with which this run goes through the requesting module, in order."""
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    return [item.callspec.params[parameter] for item in items if parameter in item.callspec.params]

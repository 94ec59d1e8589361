"""A bug that would break a promise, and the tests that have to notice bugs in several rooms."""

from __future__ import annotations

from typing import NamedTuple


class Bug(NamedTuple):
    """One change of a text that occurs exactly once in a module, and the test that fails with it.

    Parameters
    ----------
    options
        With which the test is run.
    """

    what: str
    module: str
    old: str
    new: str
    test: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.what.replace(" ", "-")


LOG = "tests/store/test_log_range.py::"
FLUSH = "tests/agents/test_flush.py::"
RELAY = "tests/agents/test_relay.py::"
SIMULATION = "tests/simulation/test_simulation.py::test_whatever_happens_every_record_has_its_effect_once"
SOME_SEEDS = ("--seeds=150",)

"""What a fault gets to work with."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from tests.chaos.pool import End, Pool
from tests.chaos.report import Injected
from tests.chaos.side import SideTopic
from tests.chaos.stand import Stand

PATIENCE_S = 120.0
"""How long a fault waits for what it needs to go on, while others are at work."""


@dataclass
class Scene:
    """The stand and its workers, chance, and where a fault says what it did."""

    stand: Stand
    pool: Pool
    side: SideTopic
    random: random.Random
    fault: Injected

    def note(self, fact: str) -> None:
        """Note a fact worth telling."""
        self.fault.facts.append(fact)

    def had_effect(self, effect: bool) -> None:
        """Say whether the fault hit anything: one that did not proves nothing, and does not count."""
        self.fault.without_effect = not effect

    def ended(self, *ends: End) -> str:
        """Note how workers ended; return it in words."""
        self.fault.ends += ends
        codes = [end.exit_code for end in ends]
        return f"exit code {codes[0]}" if len(codes) == 1 else f"exit codes {codes}"

    def pause(self, least_s: float, most_s: float) -> float:
        """Wait for a random while; return how long, s."""
        duration_s = self.random.uniform(least_s, most_s)
        time.sleep(duration_s)
        return duration_s

    def wait(self, until: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
        """Wait for a condition; what the services do not answer counts as not yet."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                if until():
                    return
            except psycopg.Error:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {within_s:.0f} s: {what}")
            time.sleep(0.25)

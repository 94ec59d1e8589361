"""The ownership protocol and the sink's logic under faults at any await (R35, R50, R61): thousands of seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.broken import BROKEN
from tests.simulation.run import Failed, run, run_all
from tests.simulation.trace import Fault

ENOUGH_FOR_EVERY_FAULT = 400
"""Seeds."""

SEEDS_TO_CATCH = 300
"""Within so many seeds a missing rule has to be found."""


# However many are asked for; no run can hang, its steps are limited
@pytest.mark.timeout(0)
def test_whatever_happens_every_record_has_its_effect_once(pytestconfig: pytest.Config) -> None:
    one, count = pytestconfig.getoption("--seed"), pytestconfig.getoption("--seeds")
    faults: Counter[Fault] = Counter()
    for _, result in run_all(range(count) if one is None else [one]):
        if isinstance(result, Failed):
            pytest.fail(str(result), pytrace=False)
        faults += result.faults
    if one is None and count >= ENOUGH_FOR_EVERY_FAULT:
        assert [kind.name for kind in Fault if not faults[kind]] == [], "these never happened"


@pytest.mark.parametrize("missing", BROKEN)
def test_a_protocol_with_a_rule_missing_is_caught(missing: str) -> None:
    parts, only = BROKEN[missing]

    assert any(_fails(seed, parts, only) for seed in range(SEEDS_TO_CATCH))


def _fails(seed: int, *broken: object) -> bool:
    try:
        run(seed, *broken)
    except Failed:
        return True
    return False


def test_a_seed_decides_everything_whatever_the_hashes_of_strings_are() -> None:
    def digests(hash_seed: str) -> str:
        command = [sys.executable, "-m", "tests.simulation", "--seeds", "20", "--digests"]
        ended = subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        )
        return "\n".join(ended.stdout.splitlines()[:-1])

    first = digests("1")

    assert len(set(first.splitlines())) == 20
    assert digests("2") == first


def test_a_failure_says_how_to_see_it_again() -> None:
    parts, only = BROKEN["the compare-and-set is left out"]
    seed = next(seed for seed in range(SEEDS_TO_CATCH) if _fails(seed, parts, only))

    with pytest.raises(Failed, match=f"^seed {seed}: (?s:.*) FAULT (?s:.*)\nrepeat with: .* --seed {seed}$"):
        run(seed, parts, only)

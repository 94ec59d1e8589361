"""Simulate seeds: ``python -m tests.simulation --seeds 200``, or one of them, with its trace: ``--seed 17``."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.run import Failed, run_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--digests", action="store_true", help="print a digest of each run's trace")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.seeds) if asked.seed is None else [asked.seed]
    began, failures = time.monotonic(), []
    for seed, result in run_all(seeds):
        if isinstance(result, Failed):
            failures.append(seed)
            print(result, flush=True)
        elif asked.digests:
            print(seed, result.digest)
    print(f"{len(seeds)} seeds in {time.monotonic() - began:.1f} s, failed: {failures or 'none'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

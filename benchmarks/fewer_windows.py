"""A worker that keeps fewer windows than the pipeline does: what windows cost is measured against it.

Called as ``python -m benchmarks.fewer_windows PARTS worker …``, where PARTS are names of :data:`PARTS` with commas between
them, and the rest is as for ``pipeline``. Only plain Python is exchanged, before the worker starts: a kernel that was changed
would stay in the compiler's cache.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType

from agents import stages
from pipeline import rules
from pipeline.cli import main
from pipeline.core import fold
from pipeline.core.effects import WindowRows
from pipeline.core.fold import FoldRules
from pipeline.core.projections import factory_rows
from pipeline.core.windowing.aggregates import FactoryRows
from pipeline.core.windowing.windows import Tumbling
from pipeline.settings import Settings
from pipeline.store import rows

MINUTE_MS = 60_000
_fold_rules = rules.fold_rules


def of_minutes(settings: Settings) -> FoldRules:
    """Return the fold's rules as the settings have them, but for the windows' length."""
    return replace(_fold_rules(settings), window=Tumbling(MINUTE_MS))


def no_factories(windows: WindowRows) -> FactoryRows:
    """Return no windows of factories, whatever the windows of readings are."""
    none = slice(0)
    return factory_rows(
        WindowRows(windows.deltas[none], windows.first[none], windows.starts_ms[none], [], [], []),
    )


Exchange = tuple[ModuleType, str, object]
"""A module, a name in it, and what the name stands for instead."""

PARTS: Mapping[str, Sequence[Exchange]] = {
    # Whoever has imported a function has a name of its own for it
    "half minutes": (
        (rules, "fold_rules", of_minutes),
        (stages, "fold_rules", of_minutes),
        (rows, "BASE_MS", MINUTE_MS),
    ),
    "factories": ((fold, "factory_rows", no_factories),),
}
"""What can be left out; operating cycles are by a setting."""

if __name__ == "__main__":
    for part in sys.argv.pop(1).split(","):
        for module, name, instead in PARTS[part]:
            setattr(module, name, instead)
    main()

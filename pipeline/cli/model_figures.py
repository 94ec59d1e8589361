"""Figures of models, which are trees of numbers, as rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def figures(metrics: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, int | float]]:
    """Yield the numbers of a tree by their paths; what else there is, is no figure.

    Examples
    --------
    >>> list(figures({"rows": 1200, "split": "id", "modes": {"seal": {"f1": 0.91}}}))
    [('rows', 1200), ('modes.seal.f1', 0.91)]
    """
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from figures(value, f"{within}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{within}{name}", value

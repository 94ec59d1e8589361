"""Figures of models, which are trees of numbers, as rows, and what else is noted of models as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from pipeline.store.models import ModelVersion

# By name: the models themselves import numba, for which whoever looks at a list does not wait
_OF_MESSAGES, _OF_HOURS = "maintenance_class", "remaining_life"
_OF_LIVES = frozenset({"lives", "failures", "censored", "cycles"})
_HOURS = frozenset({"rmse", "mae", "rmse_of_constant"})


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


def says_something(kind: str, path: str) -> bool:
    """Return whether a figure says something of a kind: classes of maintenance are learned from messages, not from lives.

    Examples
    --------
    >>> says_something("maintenance_class", "test.lives"), says_something("failure_type", "test.lives")
    (False, True)
    """
    return kind != _OF_MESSAGES or path.rpartition(".")[2] not in _OF_LIVES


def shown(kind: str, path: str, value: float) -> str:
    """Return a figure of a kind as text: counts whole, anything else with three digits, times with their unit.

    Examples
    --------
    >>> figures = ("rows", 1200), ("test.mae", 0.0012345), ("rmse", 1234.5), ("coverage", 0.9)
    >>> [shown("remaining_life", *each) for each in figures]
    ['1,200', '0.00123 h', '1,234 h', '0.9']
    """
    unit = " h" if kind == _OF_HOURS and path.rpartition(".")[2] in _HOURS else ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}{unit}" if abs(value) < 999.5 else f"{value:,.0f}{unit}"


def is_constant_as_good(metrics: Mapping[str, Any]) -> bool:
    """Return whether a model was measured to do no better than always saying the same; not if nobody measured it.

    Examples
    --------
    >>> is_constant_as_good({"rmse": 2.0, "rmse_of_constant": 1.9}), is_constant_as_good({"rows": 0})
    (True, False)
    """
    rmse, accuracy = metrics.get("rmse"), metrics.get("accuracy")
    of_constant, of_commonest = metrics.get("rmse_of_constant"), metrics.get("accuracy_of_commonest")
    if rmse is not None and of_constant is not None:
        return bool(rmse >= of_constant)
    return accuracy is not None and of_commonest is not None and bool(accuracy <= of_commonest)


def plain(version: ModelVersion, names: Iterable[str]) -> list[tuple[str, Any]]:
    """Return some of what is noted of a version as rows of text; distributions of inputs would fill the screen."""
    noted = {name: getattr(version, name) for name in names}
    if "training" in noted:
        noted["training"] = {name: value for name, value in version.training.items() if name != "inputs"}
    return [(name, orjson.dumps(value).decode() if isinstance(value, dict) else value) for name, value in noted.items()]

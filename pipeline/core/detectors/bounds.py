"""What parameters of detectors may be."""

from __future__ import annotations

import math
from collections.abc import Mapping

MOST_WHOLE = 2**31 - 1

_POSITIVE = 1e-12, 1e15
_SHARE = 0.0, 0.999_999
_WEIGHT = 1e-12, 0.999_999
_SOME = 1, MOST_WHOLE

_BOUNDS: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(
        ("budget", "power", "initial", "step", "clip", "doubt", "accept", "drift", "quiet"),
        _POSITIVE,
    ),
    **dict.fromkeys(("tolerance", "decay", "slow_decay", "adapting", "likeness"), _SHARE),
    **dict.fromkeys(("fading", "least", "step_rate", "reference", "share_fading", "ratio_fading"), _WEIGHT),
    **dict.fromkeys(("patience", "calm", "accept_after", "gap_ms"), _SOME),
    **dict.fromkeys(("block", "enough"), (10, MOST_WHOLE)),
    "warm_up": (9, MOST_WHOLE),
    "stale_after": (1, 32_767),
    "shrinkage": (1e-9, 1.0),
    "prior_share": (1e-12, 0.499_999),
    "prior_ratio": (1.000_001, 1e9),
}
"""Least and most of the parameters with a name; others are ≥ 0."""


def objection(name: str, value: object, default: float) -> str:
    """Return what a parameter must be, if it is not; else an empty text.

    Parameters
    ----------
    default
        Its default; where that is whole, only whole numbers will do.

    Examples
    --------
    >>> objection("block", 0, 60), objection("block", 10, 60)
    ('a whole number in [10, 2147483647]', '')
    >>> objection("fading", float("nan"), 0.03)
    'a number in [1e-12, 0.999999]'
    """
    whole = isinstance(default, int)
    least, most = _BOUNDS.get(name, (0, MOST_WHOLE if whole else 1e15))
    what = f"{'a whole number' if whole else 'a number'} in [{least:.15g}, {most:.15g}]"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return what
    fits = least <= value <= most and (not whole or value == int(value))
    return "" if fits else what

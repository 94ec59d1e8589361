"""How improbable a sum of squares is, as a number of decimal places: exact, and without end where a probability is 0."""

from __future__ import annotations

import math

from pipeline.core.compiling import njit

_LN_10 = math.log(10.0)
_SERIES_FROM = 12.0


@njit(cache=True, nogil=True)
def _scaled_erfc(root: float) -> float:
    """Return exp(root²)·erfc(root); by its asymptotic series where the product of the two would leave a float's range."""
    if root < _SERIES_FROM:
        return math.exp(root * root) * math.erfc(root)
    step = 1.0 / (2.0 * root * root)
    return (1.0 - step * (1.0 - 3.0 * step * (1.0 - 5.0 * step))) / (root * math.sqrt(math.pi))


@njit(cache=True, nogil=True)
def chi_square_places(statistic: float, freedom: int) -> float:
    """Return −log10 of the probability that a χ² variable exceeds a value.

    The closed forms of the tail for whole degrees of freedom (Abramowitz and Stegun 1964, 26.4.4 and 26.4.5), summed behind
    the common factor exp(−statistic/2), so that the result grows with the statistic without limit.

    Parameters
    ----------
    statistic
        Sum of squares of standard normal variables; ≥ 0, at most 1e60, no unit.
    freedom
        Degrees of freedom; ≥ 0. With none the result is 0.

    Returns
    -------
    float
        Decimal places, ≥ 0: 3 stands for a probability of 0.001.

    Examples
    --------
    >>> round(chi_square_places(9.210340, 2), 6)
    2.0
    >>> round(chi_square_places(10.827566, 1), 6)
    3.0
    """
    if freedom <= 0 or statistic <= 0.0:
        return 0.0
    half = 0.5 * statistic
    if freedom % 2:
        total = _scaled_erfc(math.sqrt(half))
        term, order = 2.0 * math.sqrt(half / math.pi), 1.5
    else:
        total = 0.0
        term, order = 1.0, 1.0
    for _ in range(freedom // 2):
        total += term
        term *= half / order
        order += 1.0
    return max(0.0, (half - math.log(total)) / _LN_10)

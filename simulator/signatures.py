"""How faults show in readings: each kind as what it does to scores, the distances from the means in deviations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simulator.episodes import Episode
from simulator.sensors import Floats

MS_PER_HOUR = 3_600_000
FLUTTER = 0.01
"""How far a stuck sensor that is not quite frozen still moves, standard deviations."""

AGAINST = -0.9
"""Correlation of sensors that move against each other."""


class _Signature(NamedTuple):
    """What a pump's fault of size 1 does to power, temperature, suction, discharge and vibration.

    Scores are multiplied by ``spreads`` and moved by ``shifts``: at once, or in a straight line over the first half.
    """

    shifts: tuple[float, float, float, float, float]
    spreads: tuple[float, float, float, float, float]
    slow: bool = False


_PUMPS = {
    "cavitation": _Signature((-0.5, 0.25, -1.0, -1.0, 1.5), (2.0, 1.0, 2.0, 2.5, 3.0)),
    "seal_failure": _Signature((-0.25, 1.0, 0.0, -1.0, 0.25), (1.0, 1.0, 1.0, 1.0, 1.0), slow=True),
    "coupling_failure": _Signature((-2.0, 0.0, 0.75, -1.5, 3.0), (1.5, 1.0, 1.0, 1.5, 2.0)),
}


def affected(kind: str) -> tuple[int, ...]:
    """Return the places of the sensors that a pump's fault changes; none for the other kinds.

    Examples
    --------
    >>> affected("seal_failure")
    (0, 1, 3, 4)
    """
    if kind not in _PUMPS:
        return ()
    moves = zip(_PUMPS[kind].shifts, _PUMPS[kind].spreads, strict=True)
    return tuple(column for column, (shift, spread) in enumerate(moves) if shift != 0.0 or spread != 1.0)


def distort(scores: Floats, times_ms: npt.NDArray[np.int64], episode: Episode) -> None:
    """Change the scores of a machine's messages within an episode, in place.

    ==================  ===============================================================================================
    kind                what it does
    ==================  ===============================================================================================
    step                moves one sensor by ``size``, up or down
    drift               moves one sensor away from where it was, by ``size`` per hour
    stuck               one sensor stays where it is; some still flutter by :data:`FLUTTER`
    noise               multiplies the distances of one sensor from its mean by ``size``
    correlated          one or two sensors move against another: their correlation with it is ``size``, however they are
                        correlated else. Each alone is distributed as always, so that only together they are odd
    cavitation          suction pressure is low; discharge pressure and power fall and fluctuate; vibration is broadband,
                        thus high and unsteady; the liquid warms a little
    seal_failure        discharge pressure falls slowly as more leaks, temperature rises with the rubbing; suction pressure
                        stays, power falls a little, vibration rises a little
    coupling_failure    the motor runs free: power drops, discharge pressure falls, suction pressure rises since less is
                        drawn, vibration rises strongly
    ==================  ===============================================================================================

    Pumps after McKee, Forbes, Mazhar, Entwistle and Howard 2011, *A review of major centrifugal pump failure modes with
    application to the water supply and sewerage industries*, and Brennen 1994, *Hydrodynamics of Pumps*. Directions are
    theirs; proportions are ours, so that a detector that does well here has seen no real pump yet.

    Parameters
    ----------
    scores
        Shape (n, sensors), of the episode's machine only.
    times_ms
        Shape (n,), within the episode; event time, ms since the epoch, UTC.
    """
    columns, size = list(episode.columns), episode.size
    own = scores[:, columns]
    since_ms = (times_ms - episode.start_ms)[:, np.newaxis]
    share = since_ms / (episode.end_ms - episode.start_ms)
    if episode.kind == "step":
        own += size
    elif episode.kind == "drift":
        own += size * since_ms / MS_PER_HOUR
    elif episode.kind == "stuck":
        own = episode.held + size * np.sign(own) * (np.abs(own) > 1.0)
    elif episode.kind == "noise":
        own *= size
    elif episode.kind == "correlated":
        lead = own[:, :1]
        # What is left of the others beside what they usually share with the first
        rest = (own[:, 1:] - episode.usual * lead) / np.sqrt(1.0 - episode.usual**2)
        own[:, 1:] = size * lead + np.sqrt(1.0 - size**2) * rest
    else:
        signature = _PUMPS[episode.kind]
        progress = np.minimum(1.0, 2.0 * share) if signature.slow else 1.0
        own = own * np.array(signature.spreads)[columns] + size * progress * np.array(signature.shifts)[columns]
    scores[:, columns] = own

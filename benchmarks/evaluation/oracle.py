"""The best that can be done about spikes and dips by who knows the simulator's numbers but not which reading is odd."""

from __future__ import annotations

import numpy as np

from benchmarks.evaluation.alarms import Flags, Floats
from simulator.options import PlantOptions
from simulator.sensors import DIP_FACTOR, SPIKE_FACTOR, Preset


def odds(preset: Preset, options: PlantOptions, values: Floats) -> Floats:
    """Return the logarithm of the odds that a reading is a spike or a dip, by the likelihoods of three normal distributions.

    The humidity's lattice is not made use of: 0.6 of a whole number mostly is none, which would give a dip away by its
    decimals.
    """
    normal = _log_density(preset, values, 1.0)
    spike = np.log(options.spike_share) + _log_density(preset, values, SPIKE_FACTOR)
    dip = np.log(options.dip_share) + _log_density(preset, values, DIP_FACTOR)
    return np.logaddexp(spike, dip) - np.log(1 - options.spike_share - options.dip_share) - normal


def likelihood_ratio(preset: Preset, options: PlantOptions, values: Floats) -> Flags:
    """Return which readings are rather odd than not: the test with the fewest wrong readings."""
    return odds(preset, options, values) > 0.0


def _log_density(preset: Preset, values: Floats, factor: float) -> Floats:
    deviations = preset.deviations * factor
    return -0.5 * ((values - preset.means * factor) / deviations) ** 2 - np.log(deviations)

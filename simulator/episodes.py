"""Ground truth: which fault a machine has, where and how long."""

from __future__ import annotations

from typing import NamedTuple


class Episode(NamedTuple):
    """One fault of one machine, from its beginning to its repair.

    Parameters
    ----------
    kind
        One of :data:`simulator.options.FAULT_KINDS`.
    sensors
        Whose readings it changes.
    start_ms, end_ms
        It changes what is measured in ``[start_ms, end_ms)``; event time, ms since the epoch, UTC. A plant that stops
        before the end has sent less.
    size
        In standard deviations of a sensor, but for a noise: what its deviation is multiplied by. Of a drift: per hour. Of a
        stuck sensor: how far it still moves. Of sensors that move against another: their correlation with the first of
        them. Negative where readings fall.
    columns
        Places of ``sensors`` among the machine's.
    held
        Score at which a stuck sensor stays.
    usual
        Correlation of the machine's sensors without a fault.
    """

    kind: str
    machine_id: str
    factory_id: str
    sensors: tuple[str, ...]
    start_ms: int
    end_ms: int
    size: float
    columns: tuple[int, ...]
    held: float = 0.0
    usual: float = 0.0

"""What a plant is like: its machines, how often they send, and how badly they behave."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from enum import StrEnum

from pipeline.core.errors import SettingsError

FACTORIES = ("aurora", "borealis", "cascade", "dorado", "equinox")
MOST_MACHINES = 100_000

SENSOR_FAULTS = ("step", "drift", "stuck", "noise", "correlated")
PUMP_FAULTS = ("cavitation", "seal_failure", "coupling_failure")
FAULT_KINDS = SENSOR_FAULTS + PUMP_FAULTS
"""What :mod:`simulator.faults` knows; the last three befall pumps only."""

_FACTORY = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""A factory's id is written into JSON, into CSV and into topic names as it is."""


class Drive(StrEnum):
    """How event time passes: as fast as possible along the schedule, or with the wall clock."""

    BACKFILL = "backfill"
    REAL_TIME = "real-time"


@dataclass(frozen=True, slots=True)
class PlantOptions:
    """A plant and what its machines do; the same options give the same bytes.

    Shares are probabilities in [0, 1]. The defaults are the lab preset with devices that behave.

    Parameters
    ----------
    seed
        Seed of everything that is drawn; ≥ 0.
    machines
        Machines in all factories together, 1 to 100,000; 10,000 machines have 50,000 sensors.
    factories
        Factory ids; machines are dealt out to them in turn.
    interval_ms
        Event time between two messages of one machine, ms; > 0. With ``rate``, that decides instead.
    start_ms
        Event time of the first message, ms since the epoch, UTC. The real-time drive begins at the clock's time instead.
    messages
        Places in the schedule before the plant stops and sends what it held back; 0: never. Every place is one message,
        but ``array_length`` of them with ``array_share``; duplicates come on top.
    drive
        As fast as possible, or in real time.
    rate
        Places in the schedule per second for the real-time drive; 0: ``machines`` per ``interval_ms``.
    spike_share, dip_share
        A reading by itself is multiplied by 1.8, or by 0.6. Lab preset: 0.03 each.
    duplicate_share
        A message is sent once more within two intervals: same machine, seq and time.
    late_share, late_max_ms
        A message is held back by up to so long, ms.
    out_of_order_share
        A message is overtaken by the machine's next one.
    offline_share, offline_ms
        A message begins an outage: the machine is silent for so much event time, ms, then sends everything at once.
    reboot_share
        A message before which the machine restarts its ``seq`` at 0.
    garbage_share
        A message arrives as one of :class:`simulator.garbage.Garbage`, each kind as often.
    array_share, array_length
        A record is a JSON array of so many messages of its machine; length ≥ 2.
    lab_share
        A machine speaks the reference lab's format, which knows no ``seq``; such a machine sends no duplicates.
    pump_share
        Pumps per machine, rounded up; each keeps machines of its factory cool, see :func:`simulator.pumps.pump_number`. Pumps
        send once per ``interval_ms``, on top of ``messages``.
    quality_interval_ms
        How often the MES reports what a machine made, ms; 0: never. Machines take turns. On top of ``messages``.
    skus
        How many SKUs the machines make, 1 to 99,999.
    maintenance_interval_ms
        Mean time between two maintenance records of a machine, ms; 0: none. On top of ``messages``.
    device_headers
        Send the header ``iothub-connection-device-id``, as IoT Hub adds it.
    sensor_correlation
        Correlation of any two sensors of a machine or pump, in [0, 1).
    fault_rate
        Episodes of faults per machine or pump and day of event time; 0: none. One that would begin while another of the
        same machine lasts is left out.
    fault_kinds
        Of :data:`FAULT_KINDS`, each as often; see :func:`simulator.signatures.distort`. Those that only pumps have do not
        befall machines.
    fault_ms
        Mean duration of an episode, ms; each lasts between half and one and a half of it.
    fault_size
        How far readings are off: a step and a pump's fault in standard deviations of the sensor; noise: by what the
        deviation is multiplied. > 0.
    fault_drift
        How fast a drift goes, standard deviations per hour; > 0.
    wear_machines
        Compressors, which wear out and fail, 0 to 100,000; see :mod:`simulator.wear`. They send every second while they
        operate, on top of ``messages``.
    wear_pace
        Seconds of wear per second of operation; > 0. At 1, a compressor fails after 5,000 to 50,000 seconds of operation; at
        10, lives and repairs are ten times shorter, and cycles as long as ever.
    wear_age_share
        How far compressors may be into their first lives when the plant begins; evenly distributed from new to this share.
    wear_planned_ms
        How long after the beginning of a life it is ended by planned maintenance, after the cycle that runs then, ms; 0: never.
    wear_unplanned_ms
        Mean time from the beginning of a life to maintenance that somebody finds necessary, ms; exponentially distributed; 0:
        never.
    """

    seed: int = 0
    machines: int = 10_000
    factories: tuple[str, ...] = FACTORIES
    interval_ms: float = 5_000.0
    start_ms: int = 1_735_689_600_000
    messages: int = 0
    drive: Drive = Drive.BACKFILL
    rate: float = 0.0
    spike_share: float = 0.03
    dip_share: float = 0.03
    duplicate_share: float = 0.0
    late_share: float = 0.0
    late_max_ms: int = 180_000
    out_of_order_share: float = 0.0
    offline_share: float = 0.0
    offline_ms: int = 120_000
    reboot_share: float = 0.0
    garbage_share: float = 0.0
    array_share: float = 0.0
    array_length: int = 3
    lab_share: float = 0.0
    pump_share: float = 0.0
    quality_interval_ms: float = 0.0
    skus: int = 9_216
    maintenance_interval_ms: float = 0.0
    device_headers: bool = False
    sensor_correlation: float = 0.0
    fault_rate: float = 0.0
    fault_kinds: tuple[str, ...] = FAULT_KINDS
    fault_ms: int = 7_200_000
    fault_size: float = 3.0
    fault_drift: float = 2.0
    wear_machines: int = 0
    wear_pace: float = 1.0
    wear_age_share: float = 0.9
    wear_planned_ms: float = 0.0
    wear_unplanned_ms: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name.endswith("_share"):
                self._require(field.name, 0 <= getattr(self, field.name) <= 1, "in [0, 1]")
        self._require("seed", self.seed >= 0, "≥ 0")
        self._require("machines", 1 <= self.machines <= MOST_MACHINES, f"in [1, {MOST_MACHINES}]")
        named = all(_FACTORY.fullmatch(factory) for factory in self.factories)
        self._require("factories", len(self.factories) > 0 and named, "at least one, each of letters, digits and . _ -")
        self._require("interval_ms", math.isfinite(self.interval_ms) and self.interval_ms > 0, "> 0")
        self._require("wear_machines", 0 <= self.wear_machines <= MOST_MACHINES, f"in [0, {MOST_MACHINES}]")
        for name in ("quality_interval_ms", "maintenance_interval_ms", "wear_planned_ms", "wear_unplanned_ms"):
            value = getattr(self, name)
            self._require(name, value == 0 or (math.isfinite(value) and value >= 1), "0, or ≥ 1")
        self._require("skus", 1 <= self.skus <= 99_999, "in [1, 99999]")
        self._require("rate", math.isfinite(self.rate) and self.rate >= 0, "≥ 0")
        self._require("messages", self.messages >= 0, "≥ 0")
        self._require("start_ms", self.start_ms >= 0, "≥ 0")
        self._require("late_max_ms", self.late_max_ms >= 1, "≥ 1")
        self._require("offline_ms", self.offline_ms >= 1, "≥ 1")
        self._require("array_length", self.array_length >= 2, "≥ 2")
        self._require("spike_share", self.spike_share + self.dip_share <= 1, "together with dip_share ≤ 1")
        held = self.late_share + self.out_of_order_share + self.garbage_share
        self._require("garbage_share", held <= 1, "together with late_share and out_of_order_share ≤ 1")
        self._check_faults()

    def _check_faults(self) -> None:
        self._require("sensor_correlation", 0 <= self.sensor_correlation < 1, "in [0, 1)")
        self._require("fault_rate", math.isfinite(self.fault_rate) and self.fault_rate >= 0, "≥ 0")
        known = len(self.fault_kinds) > 0 and set(self.fault_kinds) <= set(FAULT_KINDS)
        self._require("fault_kinds", known, f"at least one of {', '.join(FAULT_KINDS)}")
        self._require("fault_ms", self.fault_ms >= 1, "≥ 1")
        for name in ("fault_size", "fault_drift", "wear_pace"):
            self._require(name, math.isfinite(getattr(self, name)) and getattr(self, name) > 0, "> 0")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise SettingsError(f"{name} is {getattr(self, name)!r}; it must be {rule}")

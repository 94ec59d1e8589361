"""What was not expected: one reading, or that nothing came."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.silence import SILENT
from pipeline.core.spikes import DETECTOR, DETECTOR_VERSION


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One reading that was not expected, or a machine that fell silent.

    Parameters
    ----------
    offset, index
        Source position of the message that it was found in, and its place in an array record. A silent machine is found in
        a message of another one.
    sensor, kind
        Which sensor; ``spike``, ``dip``, or what another detector finds. Of a silent machine, no sensor and ``device_silent``.
    machine_id, factory_id
        Whose it is.
    time_ms, ingest_ms
        Event time of the message and the broker's time, ms since the epoch, UTC. Of a silent machine, the earlier of both is
        its time: the message is another machine's, whose clock may be ahead.
    message_ms
        Event time as the message has it, ms since the epoch, UTC: what its id is made of.
    value, expected, score
        What was observed, what the model expected before it saw it, and how unlike they are (standard deviations, ≥ 0). Of a
        silent machine: for how long nothing came (s), how long that may be (s), and their ratio (≥ 1).
    found_by
        Name and version of the detector; of a silent machine it says nothing.
    """

    offset: int
    index: int
    sensor: str
    kind: str
    machine_id: str
    factory_id: str
    time_ms: int
    ingest_ms: int
    message_ms: int
    value: float
    expected: float
    score: float
    found_by: tuple[str, int] = (DETECTOR, DETECTOR_VERSION)

    @property
    def event_type(self) -> str:
        """As what the derived event is stored."""
        return "Silent Device" if self.kind == SILENT else f"{self.sensor.replace('_', ' ').title()} Anomaly"

    @property
    def detector(self) -> tuple[str, int]:
        """Name and version of what found it."""
        return ("silence", 1) if self.kind == SILENT else self.found_by

    @property
    def identity(self) -> str:
        """What tells it from the other anomalies that were found in the same message."""
        return f"{self.machine_id}\0{self.kind}" if self.kind == SILENT else f"{self.sensor}\0{self.kind}"

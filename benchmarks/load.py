"""The job's messages: a topic filled beforehand, or messages at a steady rate."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from simulator.messages import Sent
from simulator.options import PlantOptions
from simulator.plant import Plant
from simulator.publisher import Publisher

SENSORS = 5
INTERVAL_MS = 5_000.0
# One message in 500 has a spike or a dip
_ODD_READINGS = 1 / 500 / SENSORS
_CLOSING_MS = 600_000
_TICK_S = 0.01


@dataclass(frozen=True, slots=True)
class Job:
    """Messages of a job.

    Parameters
    ----------
    machines
        Machines, 5 sensors each, one message each per 5 s of event time.
    messages
        Messages; after them every machine sends one more, ten minutes of event time later, which closes every window.
    """

    machines: int
    messages: int

    @property
    def records(self) -> int:
        """All messages, the closing ones included."""
        return self.messages + self.machines

    @property
    def closing_ms(self) -> int:
        """Event time of the first closing message, ms since the epoch, UTC; a whole minute."""
        plant = self._plant()
        end_ms = plant.start_ms + int(self.messages / self.machines * plant.interval_ms)
        return (end_ms + _CLOSING_MS) // 60_000 * 60_000

    def _plant(self) -> PlantOptions:
        return plant_options(self.machines, INTERVAL_MS, self.messages)

    def fill(self, address: str, topic: str) -> None:
        """Put all messages into a topic."""
        plant = self._plant()
        publisher = Publisher(address, topic, codec="lz4", linger_ms=20)
        _send(publisher, Plant(plant))
        _send(publisher, Plant(replace(plant, messages=self.machines, start_ms=self.closing_ms, spike_share=0.0)))
        publisher.flush()


def plant_options(machines: int, interval_ms: float, messages: int, start_ms: int = 1_735_689_600_000) -> PlantOptions:
    """Return a plant whose machines behave."""
    share = _ODD_READINGS / 2
    return PlantOptions(
        machines=machines,
        interval_ms=interval_ms,
        messages=messages,
        start_ms=start_ms,
        spike_share=share,
        dip_share=share,
    )


def _send(publisher: Publisher, records: Iterable[Sent]) -> None:
    for count, record in enumerate(records):
        publisher.send(record, lambda *_: None)
        if count % 1000 == 0:
            publisher.poll()


def start_steady(address: str, topic: str, machines: int, rate: float, seconds: float) -> subprocess.Popen[bytes]:
    """Start a process that sends at a rate for some seconds."""
    arguments = map(str, (address, topic, machines, rate, seconds))
    return subprocess.Popen([sys.executable, "-m", "benchmarks.load", *arguments])


def steady(address: str, topic: str, machines: int, rate: float, seconds: float) -> None:
    """Send at a rate, in ticks of 10 ms, as the machines' schedule says; event time is the clock's."""
    began_ms = time.time_ns() // 1_000_000
    options = plant_options(machines, machines / rate * 1000, int(rate * seconds), began_ms)
    publisher = Publisher(address, topic, codec="lz4", linger_ms=5)
    for record in Plant(options):
        while record.due_ms > time.time_ns() // 1_000_000:
            publisher.poll()
            time.sleep(_TICK_S)
        publisher.send(record, lambda *_: None)
    publisher.flush()
    late_s = time.time() - began_ms / 1000 - seconds
    if late_s > 1:
        print(f"the sender was {late_s:.1f} s late at the end: the machine is too busy for this rate", file=sys.stderr)


if __name__ == "__main__":
    steady(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))

"""What the codec is told about the plant; all else about a message is fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CodecRules:
    """Limits of what is accepted.

    Parameters
    ----------
    max_future_ms
        How far an event time may be ahead of the broker's, ms; ≥ 0.
    gateways
        Devices that may speak for any machine.
    spokesmen
        Devices that may speak for one machine each, by machine.
    max_body_bytes
        Largest body of a record.
    max_identifier_length
        Longest name of a machine, factory, machine type or sensor, in characters.
    max_readings
        Most readings in one message.
    max_depth
        Most levels of objects and arrays in one message, itself included.
    max_elements
        Most messages in an array record.
    """

    max_future_ms: int = 3_600_000
    gateways: frozenset[str] = frozenset()
    spokesmen: Mapping[str, str] = field(default_factory=dict)
    max_body_bytes: int = 1_000_000
    max_identifier_length: int = 128
    max_readings: int = 256
    max_depth: int = 64
    max_elements: int = 10_000

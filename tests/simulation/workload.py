"""What the plant sends: a few machines whose devices repeat themselves, come late and send garbage."""

from __future__ import annotations

import random
from typing import Any

BASE_MS = 1_790_000_000_000
GARBAGE = [b"", b"\xff\xfe", b"{", b"[]", b"null", b'{"type":"??"}']
POISON = "poison"
UNSTORABLE = "unstorable"


def now_ms(now_s: float) -> int:
    """Return the plant's time, ms since the epoch, at a moment since the beginning, s."""
    return BASE_MS + int(now_s * 30_000)


class Plant:
    """Messages of the plain model, each with machine, time, sequence number and readings.

    Parameters
    ----------
    repeats
        Whether devices send some messages twice.
    """

    def __init__(self, rng: random.Random, *, repeats: bool) -> None:
        self._rng = rng
        self._repeats = repeats
        self._sent: dict[int, list[dict[str, Any]]] = {}
        self._seq = 0

    def message(self, now_s: float, place: int, poison: str = "") -> dict[str, Any]:
        """Return the next message for a partition.

        Parameters
        ----------
        now_s
            The broker's time since the beginning, s; a minute of the plant passes in each.
        place
            Number of the partition: each has machines of its own, and one that it shares with the others.
        poison
            :data:`POISON` or :data:`UNSTORABLE` for a message of that kind.
        """
        rng = self._rng
        at_ms = now_ms(now_s)
        chance = rng.random()
        if not poison and chance < 0.04:
            return {"garbage": rng.choice(GARBAGE), "ingest_ms": at_ms}
        sent = self._sent.setdefault(place, [])
        if not poison and self._repeats and chance < 0.12 and sent:
            return {**rng.choice(sent[-20:]), "ingest_ms": at_ms}
        late_ms = rng.choice((20_000, 90_000, 300_000)) if chance > 0.9 else 0
        self._seq += 1
        value = rng.gauss(50.0, 2.0) if rng.random() > 0.06 else rng.choice((5.0, 110.0))
        message = {
            "machine": poison or rng.choice((f"m{place}", f"n{place}", "shared")),
            # No two at the same time, so that the last of a window does not depend on the partition
            "time_ms": (at_ms - late_ms) // 1000 * 1000 + self._seq % 1000,
            "seq": self._seq,
            "ingest_ms": at_ms,
            "readings": {"t": round(value, 3)} if rng.random() < 0.7 else {"t": round(value, 3), "p": rng.random()},
        }
        if not poison:
            sent.append(message)
        return message

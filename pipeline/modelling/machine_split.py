"""Which machines teach models, and which judge them: a machine is always on the same side, wherever it is asked about."""

from __future__ import annotations

from hashlib import blake2b

SPLIT = "blake2b(machine_id) mod 5"
"""How machines are dealt, as models that were taught so note it."""

_PARTS = 5


def is_judge(machine_id: str) -> bool:
    """Return whether a machine judges models and teaches none: one in five, by a hash of its id.

    Examples
    --------
    >>> [machine for machine in map("press-{}".format, range(12)) if is_judge(machine)]
    ['press-3', 'press-5', 'press-8', 'press-9']
    """
    digest = blake2b(machine_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _PARTS == 0

"""A short name for rules: the same for the same rules, in every process and on every machine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from pipeline.core.fold import FoldRules


def fingerprint(rules: FoldRules) -> str:
    """Return 16 hexadecimal digits that change whenever any rule of the fold does.

    Examples
    --------
    >>> fingerprint(FoldRules()) == fingerprint(FoldRules()) != fingerprint(FoldRules(watermark_delay_ms=1))
    True
    """
    # Sets have no order of their own
    plain = json.dumps(asdict(rules), sort_keys=True, default=sorted)
    return hashlib.blake2b(plain.encode(), digest_size=8).hexdigest()

"""What a test needs and this machine does not have."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(reason: object) -> NoReturn:
    """Skip the test and say why; with ``REQUIRE_SERVICES=1``, as CI sets it, fail."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"REQUIRE_SERVICES=1, and {reason}")
    pytest.skip(str(reason))

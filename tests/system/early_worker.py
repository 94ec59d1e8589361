"""A worker that starts without waiting for its services, as if the broker had gone right after it answered.

Run as ``python early_worker.py CLIENT worker …``; CLIENT is the first of Faust's clients that meets the broker:
``producer``, or ``consumer``, for which the producer is taken to have met it before.
"""

from __future__ import annotations

import sys
from typing import Any

from pipeline import startup
from pipeline.broker import transport


def do_not_wait(*_: Any) -> None:
    """Do nothing."""


async def is_there(_: Any) -> None:
    """Do nothing."""


if __name__ == "__main__":
    startup.wait_for_services = do_not_wait
    if sys.argv.pop(1) == "consumer":
        transport._Producer.on_start = is_there  # type: ignore[method-assign]  # so that the consumer is the first
    from pipeline.cli import main

    main()

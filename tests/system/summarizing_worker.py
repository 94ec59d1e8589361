"""A worker that tells the indexes of event what is new every fifth of a second."""

from __future__ import annotations

from agents import worker
from pipeline.cli import main

if __name__ == "__main__":
    worker.SUMMARIES_INTERVAL_S = 0.2
    main()

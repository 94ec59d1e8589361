"""Logs: one structured line per fact, on standard error; lines of libraries come out in the same form."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

_CHATTY = ("faust", "mode", "aiokafka", "asyncio", "numba", "yoyo", "kafka")
"""Libraries of which only warnings are of use."""


def configure(level: str = "info", form: Literal["auto", "console", "json"] = "auto") -> None:
    """Set up logging for this process.

    Parameters
    ----------
    level
        Least level of our own lines: ``debug``, ``info``, ``warning`` or ``error``.
    form
        ``auto`` is ``console`` on a terminal and ``json`` else.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    readable = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not readable:
        shared.append(structlog.processors.format_exc_info)
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if readable else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    target = logging.StreamHandler(sys.stderr)
    target.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [target]
    root.setLevel(threshold)
    logging.captureWarnings(capture=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))

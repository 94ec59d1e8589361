"""``pipeline``, killed at the nth thing it does to the archive or to a partition: before it, or after."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

from pipeline.archive import retention
from pipeline.archive.place import Place
from tests.system import commands


def pipeline(words: list[str], at: int) -> None:
    """Be ``pipeline`` with these words, until it does something for the nth time."""
    moments = itertools.count(1)

    def counted(does: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            _kill_if(next(moments) == at)
            answer = does(*given, **named)
            _kill_if(next(moments) == at)
            return answer

        return call

    for name in ("write", "delete", "files"):
        setattr(Place, name, counted(getattr(Place, name)))
    for name in ("retire", "drop", "delete_older"):
        setattr(retention, name, counted(getattr(retention, name)))
    retention.Retention._delete_archived = counted(retention.Retention._delete_archived)  # type: ignore[method-assign]
    commands.pipeline(words)


def _kill_if(due: bool) -> None:
    if due:
        os.kill(os.getpid(), signal.SIGKILL)

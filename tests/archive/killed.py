"""``pipeline``, killed at the nth thing it does to the archive or to a partition: before it, or after."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from pipeline.archive import retention
from pipeline.archive.place import Place
from pipeline.cli import main

left = int(os.environ.pop("KILLED_AT", "0"))


def counted(does: Callable[..., Any]) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        global left  # noqa: PLW0603  # one process, one kill
        for at in ("before", "after"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if at == "before":
                answer = does(*given, **named)
        return answer

    return call


if __name__ == "__main__":
    for name in ("write", "delete", "files"):
        setattr(Place, name, counted(getattr(Place, name)))
    for name in ("retire", "drop", "delete_older"):
        setattr(retention, name, counted(getattr(retention, name)))
    retention.Retention._delete_archived = counted(retention.Retention._delete_archived)  # type: ignore[method-assign]

    main()

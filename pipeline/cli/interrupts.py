"""Signals that end a command, wherever they find it."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time

_EXIT_CODES = {signal.SIGTERM: 0, signal.SIGINT: 130}
_AGAIN_S = 0.02


def end_on_signals() -> None:
    """Let whoever tells a command to stop interrupt it as Ctrl-C does, which a shell's background job ignores else."""

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    for number in _EXIT_CODES:
        signal.signal(number, interrupt)


def exit_on_signals() -> None:
    """End a service that is told to stop: with 0 by TERM, with 130 by Ctrl-C."""

    def leave(number: int, _: object) -> None:
        sys.exit(_EXIT_CODES[signal.Signals(number)])

    for number in _EXIT_CODES:
        signal.signal(number, leave)


def tell_again(lost: sys.UnraisableHookArgs) -> None:
    """Send a signal once more that came where nothing can be raised, such as in what a compiler calls back.

    Python has forgotten it then, and the command would go on. Meant to be :data:`sys.unraisablehook`.
    """
    number = _signal_of(lost.exc_value)
    if number is None:
        sys.__unraisablehook__(lost)
    while number is not None:
        try:
            # No lock is waited for here, which an interrupt could leave as it is
            _thread.start_new_thread(_send_later, (number,))
            break
        except (KeyboardInterrupt, SystemExit) as too_early:
            # On a loaded machine it may come back before this is left, where nothing can be raised either
            number = _signal_of(too_early)


def _send_later(number: int) -> None:
    time.sleep(_AGAIN_S)
    os.kill(os.getpid(), number)


def _signal_of(error: BaseException | None) -> int | None:
    if isinstance(error, KeyboardInterrupt):
        return int(error.args[0]) if error.args else signal.SIGINT
    if isinstance(error, SystemExit):
        return next((number for number, code in _EXIT_CODES.items() if code == error.code), None)
    return None

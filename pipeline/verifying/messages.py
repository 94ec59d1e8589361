"""The messages of some machines: which are stored, once, in which order, and what is missing between them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.core.banks import MEMORY
from pipeline.core.compiling import njit
from pipeline.verifying.spill import NO_LATENCY, Array, groups

_KEY = ("machine", "source", "offset", "index", "time_ms")


class Messages(NamedTuple):
    """Messages in the order of their machines, source partitions and offsets; all of shape (n,).

    Parameters
    ----------
    rows
        :data:`pipeline.verifying.spill.MESSAGE`.
    copies
        Rows of ``event`` each of them has.
    readings
        The place of each among those that readings were kept for.
    """

    rows: Array
    copies: Array
    readings: Array

    def where(self, chosen: Array) -> Messages:
        """Return the chosen ones; ``chosen`` has shape (n,)."""
        return Messages(self.rows[chosen], self.copies[chosen], self.readings[chosen])


def stored(events: Array) -> Messages:
    """Return the messages that rows of ``event`` are of, each once, with the shortest of its latencies."""
    order, number = groups(*(events[name] for name in _KEY))
    first = np.flatnonzero(np.diff(number, prepend=-1))
    rows, copies = events[order[first]], np.bincount(number, minlength=len(first))
    if len(first) < len(order):
        taken = np.full(len(first), np.iinfo(np.int64).max)
        latencies = events["latency_us"][order]
        told = latencies != NO_LATENCY
        np.minimum.at(taken, number[told], latencies[told])
        rows["latency_us"] = np.where(taken == np.iinfo(np.int64).max, NO_LATENCY, taken)
        # It is in the windows if any of its rows is before the mark
        rows["merged"] = np.logical_or.reduceat(events["merged"][order], first)
    return _in_order(Messages(rows, copies, order[first]))


def matched(sent: Array, events: Messages) -> tuple[Messages, Array]:
    """Return a ledger's messages with the copies they have in ``event``, and the events it does not know."""
    both = {name: np.concatenate([sent[name], events.rows[name]]) for name in _KEY}
    order, number = groups(*both.values())
    group = np.empty(len(order), np.int64)
    group[order] = number
    of_sent, of_event = group[: len(sent)], group[len(sent) :]
    at = np.full(len(order), -1, np.int64)
    at[of_event] = np.arange(len(of_event))
    # Garbage is never what a row of event came from
    found = np.where(sent["garbage"], -1, at[of_sent])
    has = found >= 0
    rows = sent.copy()
    rows["latency_us"][has] = events.rows["latency_us"][found[has]]
    copies = np.zeros(len(sent), np.int64)
    copies[has] = events.copies[found[has]]
    unknown = np.ones(len(of_event), np.bool_)
    unknown[found[has]] = False
    spare = np.repeat(events.rows[unknown], events.copies[unknown])
    return _in_order(Messages(rows, copies, np.arange(len(sent)))), spare


def _in_order(messages: Messages) -> Messages:
    rows = messages.rows
    order = np.lexsort((rows["index"], rows["offset"], rows["current"], rows["source"], rows["machine"]))
    return messages.where(order)


class Duplicates(NamedTuple):
    """What devices sent twice; all of shape (n,).

    Parameters
    ----------
    is_duplicate
        The machine had sent the same seq and time into the same source partition before.
    accounted
        And not all of those were refused.
    since
        Stored messages of the machine with a seq since the last of those that is stored; -1 if none is.
    """

    is_duplicate: Array
    accounted: Array
    since: Array


def duplicates(messages: Messages, refused: Array) -> Duplicates:
    """Find what devices sent twice.

    Parameters
    ----------
    refused
        Which messages are dead letters; shape (n,).
    """
    rows = messages.rows
    n = len(rows)
    kept = (messages.copies > 0) & (rows["seq"] >= 0)
    upto = np.cumsum(kept)
    found = Duplicates(np.zeros(n, np.bool_), np.zeros(n, np.bool_), np.full(n, -1, np.int64))
    order, number = groups(rows["machine"], rows["source"], rows["time_ms"], rows["seq"])
    many = np.bincount(number, minlength=1)[number] > 1
    _look_back(order[many], number[many], rows["seq"], kept, refused, upto, *found)
    return found


@njit(cache=True)
def _look_back(
    order: Array,
    number: Array,
    seqs: Array,
    kept: Array,
    refused: Array,
    upto: Array,
    is_duplicate: Array,
    accounted: Array,
    since: Array,
) -> None:
    last, all_refused = -1, True
    for n in range(len(order)):
        i = order[n]
        if n == 0 or number[n] != number[n - 1]:
            last, all_refused = -1, True
        elif seqs[i] >= 0:
            is_duplicate[i], accounted[i] = True, not all_refused
            if last >= 0:
                since[i] = upto[i] - kept[i] - upto[last]
        if kept[i]:
            last = i
        all_refused = all_refused and refused[i]


@njit(cache=True)
def went_back(machines: Array, sources: Array, times_ms: Array) -> Array:
    """Return which messages are older than one of their machine that lies before them in the source partition, shape (n,).

    Parameters
    ----------
    machines, sources, times_ms
        In the order of :class:`Messages`; shape (n,).
    """
    back = np.zeros(len(times_ms), np.bool_)
    latest = 0
    for i in range(len(times_ms)):
        if i == 0 or machines[i] != machines[i - 1] or sources[i] != sources[i - 1]:
            latest = times_ms[i]
        back[i] = times_ms[i] < latest
        latest = max(latest, times_ms[i])
    return back


class Gap(NamedTuple):
    """Sequence numbers ``first`` to ``last``, both included, that are missing of a machine; arrays of shape (n,)."""

    machines: Array
    first: Array
    last: Array


def gaps(rows: Array) -> Gap:
    """Return what is missing between the sequence numbers of stored messages.

    A machine's numbers are looked at in the order of their event times. Where they fall to 0, or by more than the memory
    of duplicates holds, the device began anew: nothing is missing there, and what comes before and after is not mixed.
    """
    rows = rows[rows["seq"] >= 0]
    rows = rows[np.lexsort((rows["seq"], rows["time_ms"], rows["machine"]))]
    fell = np.diff(rows["seq"], prepend=rows["seq"][:1])
    anew = (fell < 0) & ((rows["seq"] == 0) | (fell < -MEMORY))
    anew[1:] |= rows["machine"][1:] != rows["machine"][:-1]
    run = np.cumsum(anew)
    order = np.lexsort((rows["seq"], run))
    run, seqs = run[order], rows["seq"][order]
    at = 1 + np.flatnonzero((run[1:] == run[:-1]) & (seqs[1:] - seqs[:-1] > 1))
    return Gap(rows["machine"][order[at]], seqs[at - 1] + 1, seqs[at] - 1)

"""How trees grow from labelled rows: best split first, then pruned by description length.

Growth takes the split that saves the most nats (Breiman et al. 1984, with entropy), whichever leaf it is in. Pruning, from the
leaves up, keeps a split only if what is below it saves more nats than its description costs (Rissanen 1978):
``price · ln(rows)``. So two causes that matter only together are found too, as long as a tree has nodes enough to come to them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.compiling import njit
from pipeline.core.prognosis.trees import NODES, Tree, tree_of

LEAST = 5
"""Fewest rows of a leaf."""


class Grown(NamedTuple):
    """A tree before it is pruned, with the rows of each class in each node; shape (nodes, classes)."""

    columns: npt.NDArray[np.int64]
    thresholds: npt.NDArray[np.float64]
    children: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def _entropies(rows: int) -> Any:
    """Return n·ln(n) for each n up to some number of rows."""
    table = np.zeros(rows + 1)
    for n in range(2, rows + 1):
        table[n] = n * np.log(n)
    return table


@njit(cache=True, nogil=True)
def _best_split(values: Any, labels: Any, orders: Any, counts: Any, table: Any) -> tuple[float, int, float]:
    """Return (nats that it saves, column, threshold) of the best split of a node; column -1: none is possible."""
    rows = orders.shape[1]
    classified = 0.0
    for count in counts:
        classified += table[count]
    best, column, threshold = -1.0, -1, 0.0
    for each in range(len(orders)):
        order, below, above = orders[each], np.zeros_like(counts), counts.copy()
        inner = classified
        for i in range(rows - 1):
            label = labels[order[i]]
            inner += table[below[label] + 1] - table[below[label]] + table[above[label] - 1] - table[above[label]]
            below[label] += 1
            above[label] -= 1
            low, high = values[order[i], each], values[order[i + 1], each]
            if low < high and LEAST <= i + 1 <= rows - LEAST:
                saved = inner - table[i + 1] - table[rows - i - 1] - classified + table[rows]
                # A sum in another order differs in its last digits; of splits that are alike the first counts
                if saved > best + 1e-9:
                    middle = low / 2 + high / 2
                    best, column, threshold = saved, each, middle if middle > low else high
    return best, column, threshold


@njit(cache=True, nogil=True)
def _share_out(values: Any, orders: Any, column: int, threshold: float) -> int:
    """Bring a node's rows that are below a threshold before the others, in every order; return how many they are."""
    rest = np.empty(orders.shape[1], orders.dtype)
    below = 0
    for order in orders:
        below = above = 0
        for row in order:
            if values[row, column] < threshold:
                order[below] = row
                below += 1
            else:
                rest[above] = row
                above += 1
        order[below:] = rest[:above]
    return below


@njit(cache=True, nogil=True)
def _grow(values: Any, labels: Any, orders: Any, classes: int) -> Any:
    """Grow a tree; ``orders`` has the rows in the order of each column, and is changed."""
    columns, thresholds = np.full(NODES, -1), np.zeros(NODES)
    children, counts = np.zeros(NODES, np.int64), np.zeros((NODES, classes), np.int64)
    ends = np.zeros((NODES, 2), np.int64)
    gains, asked, against = np.full(NODES, -1.0), np.full(NODES, -1), np.zeros(NODES)
    table, used, new = _entropies(len(labels)), 1, 0
    ends[0, 1] = len(labels)
    while True:
        for each in range(new, used):
            begin, end = ends[each]
            for row in orders[0, begin:end]:
                counts[each, labels[row]] += 1
            if counts[each].max() < end - begin:
                gains[each], asked[each], against[each] = _best_split(
                    values, labels, orders[:, begin:end], counts[each], table
                )
        node = int(gains[:used].argmax())
        if gains[node] < 0.0 or used + 2 > NODES:
            return columns[:used], thresholds[:used], children[:used], counts[:used]
        begin, end = ends[node]
        middle = begin + _share_out(values, orders[:, begin:end], asked[node], against[node])
        columns[node], thresholds[node], children[node], gains[node] = asked[node], against[node], used, -1.0
        ends[used, 0], ends[used, 1], ends[used + 1, 0], ends[used + 1, 1] = begin, middle, middle, end
        new, used = used, used + 2


def grow(values: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], classes: int) -> Grown:
    """Grow a tree as far as it goes: to leaves of one class or of fewer than 10 rows, at most :data:`NODES` nodes.

    Parameters
    ----------
    values
        Finite numbers; shape (rows, columns), both at least 1.
    labels
        Class of each row, below ``classes``; shape (rows,).
    """
    orders = np.ascontiguousarray(np.argsort(values, axis=0, kind="stable").T)
    return Grown(*_grow(values, labels, orders, classes))


def prune(grown: Grown, price: float) -> Tree:
    """Return a tree with those splits that save more than they cost.

    Parameters
    ----------
    price
        Of a split, in units of ln(rows): some 1 for its threshold, and half of the number of classes for their shares.

    Examples
    --------
    >>> values = np.arange(40.0).reshape(-1, 1)
    >>> tree = prune(grow(values, (values[:, 0] >= 10).astype(np.int64), 2), 3.0)
    >>> tree.columns, tree.thresholds, tree.classes
    (array([ 0, -1, -1]), array([9.5, 0. , 0. ]), array([1, 0, 1]))
    """
    rows = grown.counts.sum(1)
    logs = np.log(np.maximum(grown.counts, 1)) - np.log(rows)[:, None]
    costs = -(grown.counts * logs).sum(1)
    splits = grown.columns >= 0
    for node in np.flatnonzero(splits)[::-1]:
        child = grown.children[node]
        below = costs[child] + costs[child + 1] + price * np.log(rows[0])
        splits[node] = below < costs[node]
        costs[node] = min(costs[node], below)
    kept = [0]
    children = []
    for node in kept:
        children.append(len(kept) if splits[node] else 0)
        if splits[node]:
            kept += [int(grown.children[node]), int(grown.children[node]) + 1]
    chosen = np.array(kept)
    counts = grown.counts[chosen]
    # Half a row of each class beforehand (Krichevsky and Trofimov 1981): what was never seen is not impossible
    probabilities = (counts + 0.5) / (counts.sum(1, keepdims=True) + counts.shape[1] / 2)
    return tree_of(
        np.where(splits[chosen], grown.columns[chosen], -1),
        np.where(splits[chosen], grown.thresholds[chosen], 0.0),
        np.array(children),
        probabilities,
    )

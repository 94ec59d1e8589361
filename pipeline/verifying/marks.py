"""How far every source partition is, what of it is explained otherwise, and what must not be looked for in ``event``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from pipeline.core.records import SourcePartition
from pipeline.verifying.spill import Array

UNKNOWN = int(np.iinfo(np.int64).max)


class Mark(NamedTuple):
    """The row of ``source_progress`` of one source partition.

    Parameters
    ----------
    readers
        Rows there are: two clusters or groups may read a topic of that name.
    duplicates
        Dropped messages before ``windows``, or fewer if not ``is_exact``.
    had_other_log
        Whether a log before the present one was lost.
    is_ours
        Whether the group in question reads it.
    is_exact
        Whether all duplicates are counted: a promoted replay of what is stored never saw those that had been dropped.
    """

    readers: int
    source_id: int
    effects: int
    windows: int
    duplicates: int
    had_other_log: bool
    is_ours: bool
    is_exact: bool

    @property
    def is_known(self) -> bool:
        """Whether it is plain whose mark it is."""
        return self.readers == 1


class Letter(NamedTuple):
    """A dead letter; ``place``: in an array, ``whole``: of one that was refused as one, ``current``: of the present log."""

    source: SourcePartition
    offset: int
    place: int
    whole: bool
    current: bool


class _Named(Protocol):
    def source_name(self, number: int) -> SourcePartition: ...


@dataclass(frozen=True, slots=True)
class Marks:
    """Marks, gaps ``[from, to)`` and dead letters by source partition.

    Parameters
    ----------
    whole_offsets
        Offsets of arrays that were refused as one, rising.
    """

    marks: dict[SourcePartition, Mark]
    gaps: dict[SourcePartition, list[tuple[int, int]]]
    letters: dict[SourcePartition, list[Letter]]
    whole_offsets: Array

    @classmethod
    def gather(
        cls,
        marks: dict[SourcePartition, Mark],
        gaps: Iterable[tuple[str, int, int, int]],
        letters: Iterable[Letter],
    ) -> Marks:
        """Put them together."""
        by_source: dict[SourcePartition, list[Letter]] = {}
        for letter in letters:
            by_source.setdefault(letter.source, []).append(letter)
        gone: dict[SourcePartition, list[tuple[int, int]]] = {}
        for topic, partition, begin, end in gaps:
            gone.setdefault(SourcePartition(topic, partition), []).append((begin, end))
        whole = {letter.offset for some in by_source.values() for letter in some if letter.whole}
        return cls(marks, gone, by_source, np.array(sorted(whole), np.int64))

    def of(self, names: _Named, sources: Array) -> tuple[Array, Array]:
        """Return the effects and windows marks of each row's source, shape (n,); :data:`UNKNOWN` where none is known."""
        found, inverse = np.unique(sources, return_inverse=True)
        each = [self.marks.get(names.source_name(number)) for number in found.tolist()]
        known = [mark if mark is not None and mark.is_known else None for mark in each]
        effects = np.array([UNKNOWN if mark is None else mark.effects for mark in known], np.int64)
        windows = np.array([UNKNOWN if mark is None else mark.windows for mark in known], np.int64)
        return effects[inverse], windows[inverse]

    def ids_of(self, topics: Iterable[str]) -> Array:
        """Return the numbers of those source partitions of some topics that the group in question reads, shape (n,)."""
        among = set(topics)
        own = [mark.source_id for source, mark in self.marks.items() if source.topic in among and mark.is_ours]
        return np.array(own, np.int64)

    def is_known(self, source: SourcePartition) -> bool:
        """Return whether it is plain what the marks of a source partition are."""
        mark = self.marks.get(source)
        return mark is not None and mark.is_known

    def explained(self, source: SourcePartition) -> Array:
        """Return the stretches of offsets ``[from, to)`` with a dead letter or a gap, by their starts; shape (n, 2)."""
        letters = sorted({letter.offset for letter in self.letters.get(source, ()) if letter.current})
        stretches = sorted([*self.gaps.get(source, ()), *((offset, offset + 1) for offset in letters)])
        return np.array(stretches, np.int64).reshape(-1, 2)

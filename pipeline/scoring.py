"""A user's own file, scored row by row by one detector, with the kernels of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from pipeline.core.checks import shown
from pipeline.core.detectors.catalogue import BY_NAME, Detector
from pipeline.core.detectors.configuration import Choice, DetectorRules
from pipeline.core.detectors.machine_state import WIDTH
from pipeline.core.detectors.scoring import BankScorer, Scores, SpikeScorer
from pipeline.core.errors import PipelineError, SettingsError
from pipeline.core.fields import MAX_VALUE
from pipeline.core.spikes import SpikeRules
from pipeline.core.times import END_MS
from pipeline.rules import detector_rules
from pipeline.settings import load
from pipeline.tabular.cells import NumberReader, TimeReader
from pipeline.tabular.csv_table import MAX_ROW
from pipeline.tabular.mapping import Time
from pipeline.tabular.rows import Chunk, Table
from pipeline.tabular.scored import ENDINGS, writing
from pipeline.tabular.selection import Selection, open_columns, time_format

AUTO = "auto"
SPIKE = "spike"
DETECTORS = (SPIKE, *BY_NAME)
"""What a file can be scored by."""

OFFLINE = (
    Choice("multivariate", threshold=8.0, parameters={"warm_up": 400, "calm": 1, "refractory_ms": 0}),
    Choice("novelty", threshold=1.1),
)
"""How a file is scored without a configuration: from its first minutes on, by thresholds that did well on public data."""

Told = Callable[[int, int, int], None]
"""Called with how much of the file was read, how much there is, and the rows so far."""


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What is to be done.

    Parameters
    ----------
    file
        CSV or Parquet.
    time, values
        Columns by name, or by number from 1 on; of values several in one text with commas between them.
    out
        Where to; by its ending, CSV or Parquet.
    detector
        One of :data:`DETECTORS`, or :data:`AUTO`.
    config
        Settings, of which those of the detectors count; ``None``: only this detector, with its defaults.
    machine_type
        Chooses among the settings.
    time_format
        As in a mapping; empty: found out.
    zone
        Of times that say none.
    """

    file: Path
    time: str
    values: tuple[str, ...]
    out: Path
    detector: str = AUTO
    config: Path | None = None
    machine_type: str = ""
    time_format: str = ""
    zone: str = "UTC"


@dataclass(slots=True)
class ScoreOutcome:
    """What became of a file.

    Parameters
    ----------
    rows, anomalies
        How many it has.
    no_value, no_number, no_time, no_row
        Rows without a score: without any value; with one that is no number within ±1e140; without a time that can be read;
        that cannot be taken apart, most with another number of fields than the header.
    backwards
        Rows that are older than the one before them.
    highest
        Highest score; 0: the detector was still warming up, or nothing ever moved.
    unwatched
        Columns that are too many for a detector of whole machines.
    """

    detector: str
    rows: int = 0
    anomalies: int = 0
    no_value: int = 0
    no_number: int = 0
    no_time: int = 0
    no_row: int = 0
    backwards: int = 0
    highest: float = 0.0
    unwatched: int = 0


def run(options: ScoreOptions, tell: Told) -> ScoreOutcome:
    """Score a file.

    Raises
    ------
    SettingsError
        If an option, the configuration or a file is wrong.
    PipelineError
        If the file is damaged.
    """
    _check_out(options)
    table, selection = open_columns(options.file, options.time, options.values, whole=_is_parquet(options.out))
    with closing(table):
        scorer, outcome = _scorer(options, [str(each) for each in selection.values])
        chunks = table.chunks()
        first = next(chunks, None)
        reader = _Reader(options, selection, table, [] if first is None else first.columns[selection.time])
        with writing(options.out.resolve(), options.file, table, selection) as writer:
            for chunk in _all(first, chunks):
                _check_rejects(options.file, chunk)
                times_ms, values = reader.read(chunk, outcome)
                found = scorer.score(times_ms, values)
                writer.write(chunk, found.scores, found.anomalies)
                outcome.rows += len(values) + len(chunk.rejects)
                outcome.no_row += len(chunk.rejects)
                outcome.anomalies += int(np.count_nonzero(found.anomalies))
                outcome.highest = float(np.nanmax(found.scores, initial=outcome.highest))
                tell(table.done, table.total, outcome.rows)
    return outcome


def _all(first: Chunk | None, others: Iterator[Chunk]) -> Iterator[Chunk]:
    return others if first is None else chain([first], others)


def _check_rejects(file: Path, chunk: Chunk) -> None:
    """Refuse a file with a row of which the end was not kept, so that it cannot be written once more."""
    for reject in chunk.rejects:
        if len(reject.row) > MAX_ROW or reject.reason == "too_long":
            raise PipelineError(f"{file}, line {reject.place}: {reject.detail}")


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _check_out(options: ScoreOptions) -> None:
    out = options.out
    if out.suffix.lower() not in ENDINGS:
        raise SettingsError(
            f"--out {out}: the name ends with neither of {', '.join(ENDINGS)}; the ending says the format"
        )
    if out.is_dir():
        raise SettingsError(f"--out {out} is a folder; name a file")
    if out.exists() and options.file.exists() and out.samefile(options.file):
        raise SettingsError(f"--out {out} is the file that is to be scored; choose another name")


class _Scorer(Protocol):
    def score(self, times_ms: npt.NDArray[np.int64], values: npt.NDArray[np.float64], /) -> Scores: ...


def _scorer(options: ScoreOptions, columns: list[str]) -> tuple[_Scorer, ScoreOutcome]:
    """Return what scores, and an outcome that names it."""
    name = options.detector
    if name == AUTO:
        name = "multivariate" if len(columns) > 1 else "novelty"
    settings = load(file=str(options.config)) if options.config is not None else None
    if name == SPIKE:
        # Not the fold's own rules: there it is off where the mixture is on
        given = () if settings is None else (settings.spikes.threshold, settings.spikes.fading, settings.spikes.warm_up)
        rules = SpikeRules(*given)
        return SpikeScorer(rules, len(columns)), ScoreOutcome(name)
    if name not in BY_NAME:
        raise SettingsError(f"there is no detector {name!r}; there are {AUTO}, {', '.join(DETECTORS)}")
    detector, chosen = BY_NAME[name], DetectorRules((name,), choices=OFFLINE)
    if settings is not None:
        chosen = _configured(detector, detector_rules(settings.detectors))
    if not any(
        chosen.variant(detector, options.machine_type, each) for each in ([""] if detector.of_machine else columns)
    ):
        raise SettingsError(
            f"--config {options.config} switches the detector {name!r} off for these columns; choose another"
        )
    too_many = max(len(columns) - WIDTH, 0) if detector.of_machine else 0
    return BankScorer(detector, chosen, columns, options.machine_type), ScoreOutcome(name, unwatched=too_many)


def _configured(detector: Detector, rules: DetectorRules) -> DetectorRules:
    """Return rules by which a detector looks wherever no choice says otherwise."""
    return rules if detector.name in rules.enabled else replace(rules, enabled=(*rules.enabled, detector.name))


class _Reader:
    """Reads the times and values of rows; a row that an import would refuse has none."""

    def __init__(self, options: ScoreOptions, selection: Selection, table: Table, cells: object) -> None:
        self._file, self._selection = options.file, selection
        self._iso = selection.time in table.instants
        format_ = options.time_format or time_format(cells)  # type: ignore[arg-type]
        try:
            self._times = TimeReader(Time(column=selection.time, format=format_, zone=options.zone))
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise SettingsError(f"--time-format or --zone is wrong: {said}") from None
        self._numbers = NumberReader(selection.file)
        self._read_one = False
        self._last_ms = 0

    def read(self, chunk: Chunk, outcome: ScoreOutcome) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return the next rows' times, ms since the epoch, shape (n,), and values, shape (n, columns); count what is wrong."""
        times_ms, has_time = self._read_times(chunk)
        columns = [self._numbers.read(chunk.columns[each], str(each)) for each in self._selection.values]
        values = np.array([each.values for each in columns], np.float64).T.reshape(len(times_ms), len(columns))
        wrong = np.asarray((np.abs(values) > MAX_VALUE).any(axis=1), np.bool_)
        wrong[[i for each in columns for i in each.bad]] = True
        missing = np.isnan(values).all(axis=1) & ~wrong
        outcome.no_time += int(np.count_nonzero(~has_time))
        outcome.no_number += int(np.count_nonzero(has_time & wrong))
        outcome.no_value += int(np.count_nonzero(has_time & missing))
        values[wrong | ~has_time] = np.nan
        outcome.backwards += self._count_backwards(times_ms[has_time & ~wrong & ~missing])
        return times_ms, values

    def _read_times(self, chunk: Chunk) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return times and whether each is one that a message may have."""
        cells = chunk.columns[self._selection.time]
        read = self._times.read(cells, iso=self._iso)
        has_time = (read.ms >= 0) & (read.ms < END_MS)
        has_time[list(read.bad)] = False
        self._read_one |= bool(has_time.any())
        if len(cells) and not self._read_one:
            detail = next(iter(read.bad.values()), ("", f"the time is {shown(cells[0])}"))[1]
            raise SettingsError(f"--time: {self._file}: {detail}; write --time-format, which docs/import.md explains")
        return read.ms, has_time

    def _count_backwards(self, times_ms: npt.NDArray[np.int64]) -> int:
        if not len(times_ms):
            return 0
        before = np.concatenate(([self._last_ms], times_ms[:-1]))
        self._last_ms = int(times_ms[-1])
        return int(np.count_nonzero(times_ms < before))

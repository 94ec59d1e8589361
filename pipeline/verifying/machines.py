"""The machines of one bucket, judged: their messages, windows, anomalies and latencies."""

from __future__ import annotations

import numpy as np

from pipeline.core.banks import MEMORY
from pipeline.verifying import messages, windows
from pipeline.verifying.figures import EXAMPLES, Example, Figures, Latencies, percentiles_by_machine
from pipeline.verifying.intake import Intake
from pipeline.verifying.messages import Messages
from pipeline.verifying.question import Question
from pipeline.verifying.spill import NO_LATENCY, Array, groups, ragged

_PLACE = ("machine", "source", "offset", "index")
_LARGEST_GAP = 1 << 40
"""A gap counts as at most so many numbers: devices may send any, and sums of them are to fit."""


class Judge:
    """Judges one bucket after the other, into figures."""

    def __init__(self, intake: Intake, question: Question, figures: Figures) -> None:
        self._intake, self._question, self.figures = intake, question, figures
        self._letters = {
            (source, letter.offset, letter.place): letter.whole
            for source, some in intake.marks.letters.items()
            for letter in some
        }
        self._letter_offsets = np.array(sorted({offset for _, offset, _ in self._letters}), np.int64)
        self._sensors, self._counts = intake.shape_sensors()
        self._source_ids = np.array(
            [
                mark.source_id if (mark := intake.marks.marks.get(intake.source_name(n))) else n
                for n in range(len(intake.sources.texts))
            ],
            np.int64,
        )
        self._ranks, self._sensor_ranks = _ranks(intake.machines.texts), _ranks(intake.sensors.texts)
        self.latencies = Latencies()
        self.by_machine: dict[int, dict[str, float]] = {}
        self.seen_ms = np.full(len(intake.machines.texts), -1, np.int64)

    def judge(self, bucket: int) -> None:
        """Judge the machines of a bucket."""
        events = self._intake.events.take(bucket)
        found = messages.stored(events)
        self._time(found)
        if self._question.ledger is not None:
            sent = self._intake.sent.take(bucket)
            said, refused = self._against_ledger(sent, found)
            shapes = sent["shape"]
        else:
            said, refused, shapes = found, np.zeros(len(found.rows), np.bool_), events["shape"]
        self._count_messages(said, refused)
        stored = said.where(said.copies > 0)
        self._count_order(stored.rows)
        self._compare_windows(bucket, stored.where(stored.rows["merged"]), shapes)
        if self._question.ledger is not None:
            self._count_anomalies(bucket, stored.rows)

    def _time(self, found: Messages) -> None:
        timed = found.rows[found.rows["latency_us"] != NO_LATENCY]
        self.latencies.add(timed["latency_us"])
        self.by_machine |= percentiles_by_machine(timed["machine"], timed["latency_us"])

    def _against_ledger(self, sent: Array, found: Messages) -> tuple[Messages, Array]:
        """Return the sound messages of a ledger, and which of them were refused."""
        said, unexpected = messages.matched(sent, found)
        self._note("unexpected", unexpected)
        refused, garbage = self._refused(said.rows), said.rows["garbage"]
        self.figures.add("sent", said.rows["machine"])
        self.figures.add("dead_letters", said.rows["machine"][garbage & refused])
        self._note("lost", said.rows[garbage & ~refused & ~said.rows["excused"]])
        return said.where(~garbage), refused[~garbage]

    def _refused(self, rows: Array) -> Array:
        """Return which messages are dead letters, by themselves or with their array; shape (n,)."""
        refused = np.zeros(len(rows), np.bool_)
        for at in np.flatnonzero(np.isin(rows["offset"], self._letter_offsets)).tolist():
            number, offset = int(rows["source"][at]), int(rows["offset"][at])
            source = self._intake.source_name(number)
            whole = self._letters.get((source, offset, 0), False) and (number, offset) not in self._intake.at_letters
            refused[at] = whole or (source, offset, int(rows["index"][at])) in self._letters
        return refused

    def _count_messages(self, said: Messages, refused: Array) -> None:
        rows, is_stored = said.rows, said.copies > 0
        twice = messages.duplicates(said, refused)
        is_remembered = (twice.since >= 0) & (twice.since < MEMORY)
        again = is_stored & is_remembered
        self.figures.add("stored", rows["machine"][is_stored])
        self.figures.add("device_duplicates", rows["machine"][twice.is_duplicate])
        spare = np.maximum(said.copies - 1, 0)
        self.figures.add("doubled", rows["machine"], spare)
        if self._question.is_timeless:
            self.figures.add("unverified", rows["machine"][is_stored & (twice.since >= MEMORY)])
        else:
            # What came between the two is not all known: the fold may rightly have forgotten the first
            self.figures.add("unverified", rows["machine"][is_stored & (twice.since >= 0)])
            again = np.zeros(len(rows), np.bool_)
        self.figures.add("doubled", rows["machine"][again])
        self.figures.example("doubled", self._intake.named(rows[again | (spare > 0)]))
        self.figures.add("refused", rows["machine"][~is_stored & refused])
        # Of a message that is missing altogether, only the first is lost
        dropped = twice.is_duplicate & np.where(twice.since >= 0, is_remembered, twice.accounted)
        self._note("lost", rows[~is_stored & ~refused & ~dropped & ~rows["excused"]])

    def _count_order(self, rows: Array) -> None:
        rows = rows[~rows["fact"]]
        back = messages.went_back(rows["machine"], rows["source"], rows["time_ms"])
        self.figures.add("out_of_order", rows["machine"][back])
        gaps = messages.gaps(rows)
        self.figures.add("sequence_gaps", gaps.machines)
        self.figures.add("sequence_missing", gaps.machines, np.minimum(gaps.last - gaps.first + 1, _LARGEST_GAP))
        names = self._intake.machines.texts
        order = np.lexsort((gaps.first, self._ranks[gaps.machines]))[:EXAMPLES]
        shown = zip(*(column[order].tolist() for column in gaps), strict=True)
        self.figures.example(
            "gap", [((names[m], first), f"{names[m]} seq {first} to {last}") for m, first, last in shown]
        )
        merged = rows[rows["merged"]]
        self.figures.add("merged", merged["machine"])
        np.maximum.at(self.seen_ms, merged["machine"], merged["time_ms"])

    def _compare_windows(self, bucket: int, said: Messages, shapes: Array) -> None:
        """Compare the windows of messages with those that are stored; ``shapes`` are of all that readings were kept for."""
        values, by_shape = self._intake.values.take(bucket), np.append(self._counts, 0)
        own, source_ids = shapes[said.readings], self._source_ids[said.rows["source"]]
        expected = windows.recomputed(
            said.rows, source_ids, self._question.window_ms,
            ragged(values, by_shape[shapes], said.readings), ragged(self._sensors, by_shape, own), by_shape[own],
        )  # fmt: skip
        expected = expected[self._is_within(expected["start_ms"])]
        actual = self._intake.windows.take(bucket)
        wrong = windows.compared(expected, actual)
        self.figures.add("windows", actual["machine"])
        self.figures.add("windows_wrong", wrong["machine"])
        machines, sensors = self._intake.machines.texts, self._intake.sensors.texts
        found: list[Example] = []
        order = np.lexsort((wrong["start_ms"], self._sensor_ranks[wrong["sensor"]], self._ranks[wrong["machine"]]))
        for row in wrong[order[:EXAMPLES]]:
            start = np.datetime_as_string(np.datetime64(int(row["start_ms"]), "ms"), unit="s")
            key = (machines[row["machine"]], sensors[row["sensor"]], f"{start}Z")
            found.append((key, " ".join(key)))
        self.figures.example("wrong window", found)

    def _is_within(self, starts_ms: Array) -> Array:
        size = self._question.window_ms
        since, until = self._question.since_ms, self._question.bounds.until_ms
        within = np.ones(len(starts_ms), np.bool_)
        if since is not None:
            within &= starts_ms >= since
        if until is not None:
            within &= starts_ms + size <= until
        return within

    def _count_anomalies(self, bucket: int, rows: Array) -> None:
        """Count what is flagged, what the plant made odd of stored messages, and what of that is flagged."""
        odd, flagged = self._intake.odd.take(bucket), self._intake.flagged.take(bucket)
        truth = odd[_among(odd, rows, _PLACE)]
        self.figures.add("anomalies", flagged["machine"])
        self.figures.add("anomalies_true", truth["machine"])
        self.figures.add("anomalies_found", truth["machine"][_among(truth, flagged, (*_PLACE, "sensor", "kind"))])

    def _note(self, figure: str, rows: Array) -> None:
        self.figures.add(figure, rows["machine"])
        self.figures.example(figure, self._intake.named(rows))


def _ranks(names: list[str]) -> Array:
    """Return the place of each name among all in order, shape (n,)."""
    ranks = np.empty(len(names), np.int64)
    ranks[np.argsort(np.array(names, object))] = np.arange(len(names))
    return ranks


def _among(rows: Array, others: Array, names: tuple[str, ...]) -> Array:
    """Return which rows have the same values as one of the others; shape (n,)."""
    order, number = groups(*(np.concatenate([rows[name], others[name]]) for name in names))
    has = np.zeros(len(order) and int(number[-1]) + 1, np.bool_)
    has[number[order >= len(rows)]] = True
    among = np.empty(len(order), np.bool_)
    among[order] = has[number]
    return among[: len(rows)]

"""Everything that is judged, read once and scattered: by machine, and by place in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.decoding.codec import CodecRules, decode
from pipeline.core.facts import TELEMETRY_INGEST
from pipeline.core.records import Shape, SourcePartition, StoredEvents
from pipeline.core.times import END_MS
from pipeline.verifying import ledger as ledgers
from pipeline.verifying.blocks import Names, whole
from pipeline.verifying.figures import EXAMPLES, Example, Figures
from pipeline.verifying.marks import Marks
from pipeline.verifying.spill import ANOMALY, MESSAGE, NO_LATENCY, PLACE, VALUE, WINDOW, Array, Spill

RANGE_BITS = 20
"""So many offsets, as a power of two, lie in one file of places."""

# What the sender's clock or a gateway was allowed then is not judged again
_RULES = CodecRules(max_future_ms=END_MS)


class Intake:
    """Names as numbers, and rows on disk.

    Parameters
    ----------
    folder
        For the rows; empty.
    buckets
        Into how many parts machines are dealt.
    marks
        How far every source partition is.
    figures
        What is wrong with single rows is counted here.
    with_places
        Whether the order of whole source partitions is judged.
    """

    def __init__(self, folder: Path, buckets: int, marks: Marks, figures: Figures, *, with_places: bool) -> None:
        self.machines, self.topics, self.sources = Names(), Names(), Names()
        self.sensors, self.kinds, self.shapes, self.types = Names(), Names(), Names(), Names()
        self.buckets, self.marks, self._figures, self._with_places = buckets, marks, figures, with_places
        self.events, self.values = Spill(folder / "events", MESSAGE), Spill(folder / "values", VALUE)
        self.sent, self.sent_places = Spill(folder / "sent", MESSAGE), Spill(folder / "sent-places", PLACE)
        self.places, self.windows = Spill(folder / "places", PLACE), Spill(folder / "windows", WINDOW)
        self.odd, self.flagged = Spill(folder / "odd", ANOMALY), Spill(folder / "flagged", ANOMALY)
        self._layouts: dict[Shape, int] = {}
        self._of_layouts: list[tuple[int, int]] = []
        self.at_letters: set[tuple[int, int]] = set()

    def source_name(self, number: int) -> SourcePartition:
        """Return the source partition of a number."""
        topic, partition = self.sources.texts[number]
        return SourcePartition(self.topics.texts[topic], partition)

    def take_events(self, table: pa.Table, *, with_bodies: bool) -> None:
        """Take a block of the table ``event``."""
        rows = self._rows(table, "source_topic", "source_")
        rows["time_ms"] = whole(table.column("event_ms"), 0)
        rows["latency_us"] = whole(table.column("latency_us"), NO_LATENCY)
        rows["current"] = whole(table.column("current"), 1)
        rows["seq"], rows["shape"] = -1, -1
        ingest_ms = whole(table.column("ingest_ms"), 0)
        types = self.types.column(table.column("event_type"))
        rows["fact"] = types != self.types.number(TELEMETRY_INGEST)
        effects, windows = self.marks.of(self, rows["source"])
        rows["merged"] = (~rows["current"] | (rows["offset"] < windows)) & ~rows["fact"]
        self._note("above_marks", "above the marks", rows[rows["current"] & (rows["offset"] >= effects)])
        self._note_letters(rows)
        keys = rows["machine"] % self.buckets
        if with_bodies:
            event_types = [self.types.texts[number] for number in types.tolist()]
            values, counts = self._read_bodies(rows, ingest_ms, table.column("body").to_pylist(), event_types)
            self.values.add(keys, values, counts)
        self.events.add(keys, rows)
        if self._with_places:
            self.places.add(place_keys(rows), _places(rows, ingest_ms))

    def _read_bodies(self, rows: Array, ingest_ms: Array, bodies: list[Any], types: list[str]) -> tuple[Array, Array]:
        """Fill in what bodies say; return all readings, and how many each message has: shape (n,)."""
        each = zip(ingest_ms.tolist(), bodies, types, strict=True)
        records = StoredEvents.of((n, 0, at, body, event_type) for n, (at, body, event_type) in enumerate(each))
        said, _ = decode(records, _RULES, {}, self._layouts)
        machines, shapes = self._known(said.shapes, said.numbers)
        counts = np.zeros(len(rows), np.int64)
        at, many = said.offsets, np.diff(said.ends, prepend=0)
        agrees = (machines == rows["machine"][at]) & (said.times_ms == rows["time_ms"][at])
        agrees &= np.bincount(at, minlength=len(rows))[at] == 1
        at = at[agrees]
        rows["seq"][at], rows["shape"][at], counts[at] = said.seqs[agrees], shapes[agrees], many[agrees]
        lacks = np.ones(len(rows), np.bool_)
        lacks[at] = False
        for fact in said.facts:
            row = rows[fact.offset]
            whose = self.machines.find(fact.machine_id)
            lacks[fact.offset] = (row["machine"], row["time_ms"], row["fact"]) != (whose, fact.time_ms, True)
        self._note("unreadable", "unreadable", rows[lacks])
        return said.values[np.repeat(agrees, many)], counts

    def _known(self, shapes: list[Shape], numbers: Array) -> tuple[Array, Array]:
        """Return the machine and the sensors' shape of each message, shape (n,); what is new is noted."""
        for i in np.flatnonzero(numbers < 0).tolist():
            machine_id, _, _, names = shape = shapes[i]
            numbers[i] = number = self._layouts.setdefault(shape, len(self._layouts))
            if number == len(self._of_layouts):
                self._of_layouts.append((self.machines.number(machine_id), self._shape(names)))
        known = np.array(self._of_layouts, np.int32).reshape(-1, 2)[numbers]
        return known[:, 0], known[:, 1]

    def take_sent(self, path: Path, first: int, table: pa.Table, bounds: Array | None, letters_ms: int | None) -> None:
        """Take a block of a ledger.

        Parameters
        ----------
        bounds
            Which of its rows are judged, shape (n,); ``None``: all.
        letters_ms
            Since when dead letters are all there, ms since the epoch, UTC; ``None``: always.
        """
        rows = self._rows(table, "topic", "")
        rows["time_ms"], rows["seq"] = whole(table.column("event_time_ms"), 0), whole(table.column("seq"), -1)
        rows["latency_us"], rows["current"] = NO_LATENCY, True
        rows["garbage"] = self.kinds.column(table.column("kind")) == self.kinds.number("garbage")
        rows["merged"] = rows["offset"] < self.marks.of(self, rows["source"])[1]
        if letters_ms is not None:
            rows["excused"] = whole(table.column("sent_at_ms"), 0) < letters_ms
        self._figures.add("sound", rows["machine"][~rows["garbage"]])
        read = ledgers.readings(path, first, table)
        rows["shape"] = self._shapes(read.sensors)
        rows["fact"] = (read.counts == 0) & ~rows["garbage"]
        of, odd = ledgers.anomalies(path, first, table)
        self.sent_places.add(place_keys(rows), _places(rows, rows["time_ms"]))
        wanted = np.ones(len(rows), np.bool_) if bounds is None else bounds
        keys = rows["machine"][wanted] % self.buckets
        self.sent.add(keys, rows[wanted])
        self.values.add(keys, read.values[np.repeat(wanted, read.counts)], read.counts[wanted])
        spoilt = np.zeros(len(odd), ANOMALY)
        for name in ("machine", "source", "offset", "index"):
            spoilt[name] = rows[name][of]
        spoilt["sensor"] = [self.sensors.number(sensor) for sensor, _ in odd]
        spoilt["kind"] = [self.kinds.number(kind) for _, kind in odd]
        spoilt = spoilt[wanted[of] & ~rows["garbage"][of]]
        self.odd.add(spoilt["machine"] % self.buckets, spoilt)

    def sound_machines(self) -> Array:
        """Return which machines a ledger has sound messages of, shape (machines,)."""
        is_sound: Array = self._figures.of("sound", len(self.machines.texts)) > 0
        return is_sound

    def take_windows(self, table: pa.Table, wanted: Array | None) -> None:
        """Take a block of the table ``reading_window``: of the wanted machines, shape (machines,), or of their sources."""
        rows = np.empty(table.num_rows, WINDOW)
        rows["machine"] = self.machines.column(table.column("machine_id"))
        rows["sensor"] = self.sensors.column(table.column("sensor"))
        for name in ("start_ms", "count", "mean", "m2", "min", "max", "last", "length_ms"):
            rows[name] = table.column(name).to_numpy()
        if wanted is not None:
            known = np.zeros(len(self.machines.texts), np.bool_)
            known[: len(wanted)] = wanted
            ids = self.marks.ids_of(self.topics.texts)
            rows = rows[known[rows["machine"]] | np.isin(table.column("source_id").to_numpy(), ids)]
        self.windows.add(rows["machine"] % self.buckets, rows)

    def take_anomalies(self, table: pa.Table) -> None:
        """Take a block of the table ``anomaly``."""
        rows = np.empty(table.num_rows, ANOMALY)
        given = self._rows(table, "source_topic", "source_")
        for name in ("machine", "source", "offset", "index"):
            rows[name] = given[name]
        rows["sensor"] = self.sensors.column(table.column("sensor"))
        rows["kind"] = self.kinds.column(table.column("kind"))
        self.flagged.add(rows["machine"] % self.buckets, rows)

    def source_numbers(self, table: pa.Table, topic: str, prefix: str) -> Array:
        """Return the number of each row's source partition, shape (n,)."""
        partitions = table.column(f"{prefix}partition").to_numpy()
        packed = self.topics.column(table.column(topic)).astype(np.int64) << 32 | partitions & 0xFFFF_FFFF
        found, inverse = np.unique(packed, return_inverse=True)
        numbers = [self.sources.number((pair >> 32, pair & 0xFFFF_FFFF)) for pair in found.tolist()]
        return np.array(numbers, np.int32)[inverse]

    def _rows(self, table: pa.Table, topic: str, prefix: str) -> Array:
        rows = np.zeros(table.num_rows, MESSAGE)
        rows["source"] = self.source_numbers(table, topic, prefix)
        rows["offset"] = table.column(f"{prefix}offset").to_numpy()
        rows["index"] = table.column(f"{prefix}index").to_numpy()
        rows["machine"] = self.machines.column(table.column("machine_id"))
        return rows

    def _shapes(self, sensors: list[tuple[str, ...]]) -> Array:
        return np.fromiter(map(self._shape, sensors), np.int32, len(sensors))

    def _shape(self, names: tuple[str, ...]) -> int:
        number = self.shapes.find(names)
        if number < 0:
            number = self.shapes.number(names)
            for name in names:
                self.sensors.number(name)
        return number

    def shape_sensors(self) -> tuple[Array, Array]:
        """Return the sensors of all shapes, one shape after the other, and how many each has."""
        numbers = [self.sensors.number(name) for names in self.shapes.texts for name in names]
        return np.array(numbers, np.int32), np.array([len(names) for names in self.shapes.texts], np.int64)

    def named(self, rows: Array, source: SourcePartition | None = None) -> list[Example]:
        """Return the first few of some rows in the order of their places, each with ``topic:partition:offset:index machine``.

        Parameters
        ----------
        source
            Where all of them are from, if they do not say it themselves.
        """
        sources = np.zeros(len(rows), np.int32) if source else rows["source"]
        found: list[Example] = []
        for number in np.unique(sources).tolist():
            topic, partition = source or self.source_name(number)
            some = rows[sources == number]
            for row in some[np.lexsort((some["index"], some["offset"]))[:EXAMPLES]]:
                place = (topic, partition, int(row["offset"]), int(row["index"]))
                found.append((place, f"{':'.join(map(str, place))} {self.machines.texts[row['machine']]}"))
        return found

    def _note(self, figure: str, sort: str, rows: Array) -> None:
        self._figures.add(figure, rows["machine"])
        self._figures.example(sort, self.named(rows))

    def _note_letters(self, rows: Array) -> None:
        """Note which refused arrays have stored messages after all."""
        near = rows[np.isin(rows["offset"], self.marks.whole_offsets)]
        self.at_letters.update(zip(near["source"].tolist(), near["offset"].tolist(), strict=True))


def place_keys(rows: Array) -> Array:
    """Return the file of each row's place: by source partition, then by log, then by stretch of offsets."""
    log = rows["source"].astype(np.int64) * 2 + rows["current"]
    keys: Array = log << (63 - RANGE_BITS) | np.maximum(rows["offset"], 0) >> RANGE_BITS
    return keys


def _places(rows: Array, ingest_ms: Any) -> Array:
    places = np.empty(len(rows), PLACE)
    for name in ("offset", "index", "machine", "time_ms", "fact"):
        places[name] = rows[name]
    places["ingest_ms"] = ingest_ms
    return places

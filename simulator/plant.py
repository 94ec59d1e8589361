"""The plant: records in the order in which its machines send them. It knows no clock and no broker."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from simulator.compressors import compressor_records
from simulator.facts import maintenance_records, quality_records
from simulator.faults import Integers, faults_of
from simulator.garbage import KINDS, Garbage, spoil
from simulator.instruments import Instruments, Measured
from simulator.messages import Machine, Message, Sent, canonical, lab, machine, readings_text
from simulator.options import PlantOptions
from simulator.pumps import pump_records, pumps
from simulator.schedule import GARBAGE, KIND_NAMES, SENT, Block, Schedule
from simulator.sensors import LAB, named


class Plant:
    """A plant whose machines send; the same options give the same bytes.

    Parameters
    ----------
    options
        What it is like; ``drive`` and ``rate`` mean nothing here.

    Examples
    --------
    >>> plant = Plant(PlantOptions(machines=2, messages=3, interval_ms=1_000))
    >>> [(record.key, record.messages[0].seq, record.due_ms - 1_735_689_600_000) for record in plant]
    [(b'press-00000', 0, 0), (b'cnc-00001', 0, 500), (b'press-00000', 1, 1000)]
    """

    def __init__(self, options: PlantOptions) -> None:
        self._options = options
        self._random = np.random.default_rng(options.seed)
        self._schedule = Schedule(options, self._random)
        self.machines: list[Machine] = [
            machine(number, options.factories, bool(speaks_lab))
            for number, speaks_lab in enumerate(self._schedule.speaks_lab.tolist())
        ]
        self.pumps = pumps(options)
        faults = faults_of(
            options,
            LAB.sensors,
            [(sender.machine_id, sender.factory_id) for sender in self.machines],
            np.random.default_rng([options.seed, 4]),
            pumps=False,
        )
        common = np.random.default_rng([options.seed, 6])
        self._instruments = Instruments(options, LAB, self._random, common, faults)
        self._held: list[tuple[int, int, Sent]] = []
        self._held_ever = 0
        self._garbage = 0

    def __iter__(self) -> Iterator[Sent]:
        """Yield the records in the order in which they are due; at the end of the schedule also what was held back.

        What pumps, compressors, the MES and maintenance send comes in between, up to the last of the machines' records.
        """
        others = self._others()
        following = next(others, None)
        for record in self._of_machines():
            while following is not None and following.due_ms <= record.due_ms:
                yield following
                following = next(others, None)
            yield record

    def _others(self) -> Iterator[Sent]:
        """Yield what does not come from machines. Its chance is its own, so that machines send the same without it."""
        options, sources = self._options, list[Iterator[Sent]]()
        if self.pumps:
            sources.append(pump_records(options, self.pumps))
        if options.wear_machines:
            sources.append(compressor_records(options))
        if options.quality_interval_ms:
            sources.append(quality_records(options, self.machines, np.random.default_rng([options.seed, 2])))
        if options.maintenance_interval_ms:
            sources.append(maintenance_records(options, self.machines, np.random.default_rng([options.seed, 3])))
        return heapq.merge(*sources, key=lambda record: record.due_ms)

    def blocks(self) -> Iterator[tuple[Block, Integers, Measured]]:
        """Yield the schedule of the machines, the machine of every message, and what it measures.

        What was yielded here does not come again when records are asked for.
        """
        for block in self._schedule.blocks():
            rows = np.repeat(block.machines, np.diff(block.ends, prepend=0))
            yield block, rows, self._instruments.measure(rows, block.times_ms)

    def _of_machines(self) -> Iterator[Sent]:
        for block, rows, measured in self.blocks():
            for record in self._records(block, *self._messages(block, rows, measured)):
                while self._held and self._held[0][0] <= record.due_ms:
                    yield heapq.heappop(self._held)[2]
                yield record
            while self._held and self._held[0][0] < block.end_ms:
                yield heapq.heappop(self._held)[2]
        while self._held:
            yield heapq.heappop(self._held)[2]

    def _hold(self, record: Sent) -> None:
        self._held_ever += 1
        heapq.heappush(self._held, (record.due_ms, self._held_ever, record))

    def _records(self, block: Block, texts: list[str], messages: list[Message]) -> Iterator[Sent]:
        """Yield the block's records that leave in their turn; hold the others back."""
        spans = pairwise([0, *block.ends.tolist()])
        begin_ms = block.times_ms[block.ends - np.diff(block.ends, prepend=0)].tolist()
        columns = zip(
            spans,
            block.machines.tolist(),
            block.kinds.tolist(),
            block.dues_ms.tolist(),
            block.again_ms.tolist(),
            begin_ms,
            strict=True,
        )
        for (first, end), row, kind, due_ms, again_ms, scheduled_ms in columns:
            if kind == GARBAGE:
                record = self._spoilt(self.machines[row], texts[first], messages[first], due_ms)
            else:
                body = texts[first] if end - first == 1 else f"[{','.join(texts[first:end])}]"
                record = self._record(row, body.encode(), KIND_NAMES[kind], due_ms, tuple(messages[first:end]))
            if kind == SENT and due_ms == scheduled_ms:
                yield record
            else:
                self._hold(record)
            if again_ms >= 0:
                self._hold(record._replace(kind="duplicate", due_ms=again_ms))

    def _record(self, row: int, body: bytes, kind: str, due_ms: int, messages: tuple[Message, ...]) -> Sent:
        key = self.machines[row].key
        headers = (("iothub-connection-device-id", key),) if self._options.device_headers else ()
        return Sent(key, body, headers, kind, "", due_ms, messages)

    def _spoilt(self, sender: Machine, text: str, message: Message, due_ms: int) -> Sent:
        """Return a message as garbage, each kind in turn; what speaks the lab's format is cut off."""
        kind = Garbage.TRUNCATED
        if not sender.speaks_lab:
            kind = KINDS[self._garbage % len(KINDS)]
            self._garbage += 1
        return Sent(sender.key, spoil(text, kind), (), "garbage", kind.value, due_ms, (message,))

    def _messages(self, block: Block, rows: Integers, measured: Measured) -> tuple[list[str], list[Message]]:
        times = np.datetime_as_string(block.times_ms.astype("datetime64[ms]"), unit="ms").tolist()
        texts: list[str] = []
        messages: list[Message] = []
        columns = zip(
            rows.tolist(),
            times,
            block.seqs.tolist(),
            block.times_ms.tolist(),
            named(measured.marks),
            zip(*measured.values.T.tolist(), strict=True),
            measured.episodes,
            strict=True,
        )
        for row, time, seq, time_ms, anomalies, numbers, episode in columns:
            sender, readings = self.machines[row], readings_text(numbers)
            if sender.speaks_lab:
                texts.append(lab(sender, time, numbers))
            else:
                texts.append(canonical(sender, time, seq, readings))
            messages.append(
                Message(
                    sender.machine_id,
                    sender.factory_id,
                    None if sender.speaks_lab else seq,
                    time_ms,
                    anomalies,
                    readings,
                    episode,
                )
            )
        return texts, messages

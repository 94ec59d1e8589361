"""Tables with one reading a row: consecutive rows of one machine and time become one message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.core.checks import shown
from pipeline.core.decoding.codec_rules import CodecRules
from pipeline.core.fields import MAX_VALUE
from pipeline.tabular.candidates import NO_READING, UNWRITABLE, Candidates, HeadReader, Row, written
from pipeline.tabular.cells import Bad, NumberReader, text
from pipeline.tabular.mapping import Long, Mapping
from pipeline.tabular.rows import Cell, Chunk, Reject

Key = tuple[str | None, str | None, str | None, int, int]


@dataclass(slots=True)
class _Group:
    """Rows that become one message."""

    key: Key
    message: dict[str, Any]
    readings: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


class LongBuilder:
    """Makes a message of consecutive rows that share machine, factory, type, time and the device's number.

    A sensor that comes a second time begins a message of its own, so no value takes another one's place. A row is judged by
    itself as far as that goes, so that one that is wrong does not take the others of its message with it.

    Parameters
    ----------
    long
        The columns of the sensor's name and of its value.
    rules
        How many readings a message may have, and how long names may be.
    """

    def __init__(self, mapping: Mapping, long: Long, heads: HeadReader, rules: CodecRules) -> None:
        self._heads, self._rules, self._long = heads, rules, long
        self._numbers = NumberReader(mapping.file)
        self._has_seq = mapping.seq is not None
        self._sensors = {each.tag: (name, each.scale, each.offset) for name, each in mapping.readings.items()}
        self._group: _Group | None = None

    def build(self, chunk: Chunk) -> Candidates:
        """Return the messages that the rows complete; the last one waits for more rows."""
        heads, rejects, complete = self._heads.read(chunk), [], []
        numbers = self._numbers.read(chunk.columns[self._long.value], "value")
        tags = chunk.columns[self._long.sensor]
        for i in range(len(chunk.places)):
            row = Row(chunk, i)
            bad = heads.bad.get(i) or numbers.bad.get(i)
            value, known = numbers.values[i], self._sensor(tags[i])
            if bad is None and known is None:
                bad = "unknown_sensor", f"the sensor is {shown(tags[i])}; add it to readings in the mapping"
            if bad is None and value is None:
                bad = NO_READING, "the value means that there is no reading"
            if bad is None and known is not None and value is not None:
                name, reading = known[0], value * known[1] + known[2]
                bad = self._judge(name, reading)
            if bad is not None:
                rejects.append(row.refused(bad))
                continue
            names = heads.factory_ids[i], heads.machine_ids[i], heads.machine_types[i]
            key = (*names, heads.times_ms[i], heads.seqs[i] if self._has_seq else 0)
            group = self._group
            if group is None or group.key != key or name in group.readings or self._is_full(group):
                complete += self._take()
                group = self._group = _Group(key, heads.message(i, {}))
            group.readings[name] = reading
            group.rows.append(row)
        return _candidates(complete, rejects)

    def finish(self) -> Candidates:
        """Return the last message."""
        return _candidates(self._take(), [])

    def _take(self) -> list[_Group]:
        """Return the message that waits, which then waits no more."""
        group, self._group = self._group, None
        return [] if group is None else [group]

    def _sensor(self, tag: Cell) -> tuple[str, float, float] | None:
        """Return name, scale and offset of a sensor."""
        name = text(tag)
        if self._sensors:
            return self._sensors.get(name)
        return (name, 1.0, 0.0) if name else None

    def _judge(self, name: str, reading: float) -> Bad | None:
        """Say what would refuse the whole message because of this row."""
        if len(name) > self._rules.max_identifier_length:
            most = self._rules.max_identifier_length
            return "identifier_too_long", f"the sensor's name has {len(name)} characters; at most {most} are taken"
        if not abs(reading) <= MAX_VALUE:
            return "value_out_of_range", f"{shown(name)} is {reading!r}; a number within ±{MAX_VALUE:g} is expected"
        return None

    def _is_full(self, group: _Group) -> bool:
        return len(group.readings) >= self._rules.max_readings


def _candidates(groups: list[_Group], rejects: list[Reject]) -> Candidates:
    bodies = written([group.message | {"readings": group.readings} for group in groups])
    found = []
    for group, body in zip(groups, bodies, strict=True):
        if body is None:
            rejects += [row.refused(UNWRITABLE) for row in group.rows]
        else:
            found.append((body, group.key[3], group.rows))
    return Candidates([body for body, _, _ in found], [at_ms for _, at_ms, _ in found], lambda k: found[k][2], rejects)

"""The fold: one batch of records into a partition's state, and what it wants stored.

One fold, many drivers: agents, replay, the offline scorer and tests call :func:`fold` and :func:`project`; none of them
knows a rule of the plant. It reads no clock: the same records give the same effects, however they are cut into batches.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.anomalies import Anomaly
from pipeline.core.checks import Refused
from pipeline.core.columns import Columns
from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.decoding.admission import Senders, refused_machines
from pipeline.core.decoding.codec import CodecRules, decode
from pipeline.core.decoding.metadata import MetadataCommand, judge
from pipeline.core.detectors.configuration import DetectorRules
from pipeline.core.detectors.model_bank import Alarm
from pipeline.core.effects import Effects, Events, Projections
from pipeline.core.forecasts import classes_of, forecasts
from pipeline.core.kernel import FOUND, Messages, Rules, fold_messages
from pipeline.core.maintenance.judgement import Found
from pipeline.core.maintenance.requirements import changes, recalculations
from pipeline.core.new_machines import first_messages
from pipeline.core.odd_readings import alarm_readings, model_readings, odd_readings, with_alarms
from pipeline.core.predictions import Prediction
from pipeline.core.projections import (
    cycle_rows,
    factory_rows,
    machine_rows,
    requirement_rows,
    whole_windows,
    window_rows,
)
from pipeline.core.records import RecordBatch, are_stored
from pipeline.core.silent_machines import Moment, silent_machines
from pipeline.core.spikes import SpikeRules
from pipeline.core.state import PartitionState
from pipeline.core.windowing.windows import Tumbling

FOLD_VERSION = 6
"""Raised whenever the same records give other effects than before."""


@dataclass(frozen=True, slots=True)
class FoldRules:
    """Everything but the records that decides what the fold answers.

    Parameters
    ----------
    window
        The tumbling windows of readings.
    watermark_delay_ms
        How long after a window's end its readings are still on time, ms; ≥ 0.
    allowed_lateness_ms
        How much later they still are merely late, ms; ≥ 0. Later yet they are merged too, and counted as very late.
    cycle_gap_ms
        Longest time between two messages of one operating cycle, ms; 0: no operating cycles are kept.
    silence_ms
        How long nothing may come from a machine before it is silent, ms of event time; 0: for ever.
    quarantine_unknown
        Whether machines that nobody knows are refused, in factories without a policy of their own.
    predicts
        Whether operating cycles are kept as the machines' lives, and models in force are asked about them.
    """

    codec: CodecRules = field(default_factory=CodecRules)
    spikes: SpikeRules = field(default_factory=SpikeRules)
    detectors: DetectorRules = field(default_factory=DetectorRules)
    window: Tumbling = field(default_factory=Tumbling)
    watermark_delay_ms: int = 10_000
    allowed_lateness_ms: int = 7_200_000
    cycle_gap_ms: int = 30_000
    silence_ms: int = 0
    quarantine_unknown: bool = False
    predicts: bool = True

    def numbers(self) -> Rules:
        """Return what the kernel needs of it."""
        spikes = self.spikes
        return Rules(
            self.window.size_ms,
            self.watermark_delay_ms,
            self.allowed_lateness_ms,
            self.cycle_gap_ms,
            self.silence_ms,
            spikes.threshold,
            spikes.fading,
            float(spikes.warm_up),
        )


@dataclass(frozen=True, slots=True)
class Marks:
    """From which offsets on a fold has effects: before them the sink has them already.

    Parameters
    ----------
    effects
        First offset whose events, facts, anomalies and dead letters are wanted.
    windows
        First offset that counts into window and machine deltas.
    controls, windows_controls
        Likewise of the control records that the partition applied, counted from 0.
    """

    effects: int = 0
    windows: int = 0
    controls: int = 0
    windows_controls: int = 0


def fold(
    state: PartitionState,
    batch: RecordBatch,
    rules: FoldRules,
    marks: Marks,
    skip: Mapping[int, tuple[DeadLetterReason, str]] | None = None,
) -> Effects:
    """Fold a batch into a partition's state and return its effects.

    Parameters
    ----------
    state
        Changed in place. After an exception it is unusable: load it anew.
    batch
        Records from the position the state stands at.
    marks
        The sink's marks; readings before them teach the models and have no effect.
    skip
        Offsets that a control record turned into dead letters, with reason and detail.
    """
    codec = replace(rules.codec, spokesmen=state.registry.spokesmen)
    columns, dead_letters = decode(batch.records, codec, skip or {}, state.layouts, partial(_refused, state, rules))
    facts = [judge(each, state.registry) if isinstance(each, MetadataCommand) else each for each in columns.facts]
    known = state.machines.used
    folded = _fold_columns(state, columns, rules, marks)
    kept, judged = folded.kept, folded.judged
    strangers = [each for each in state.machine_ids[known:] if not state.registry.has_machine(each)]
    fresh = kept & (columns.offsets >= marks.effects)
    last = batch.records[-1] if batch.records else None
    return Effects(
        next=batch.next,
        events=Events(
            columns.offsets,
            columns.indexes,
            columns.times_ms,
            columns.ingest_ms,
            columns.machine_ids,
            columns.factory_ids,
            columns.bodies,
        ).where(fresh),
        anomalies=_anomalies(state, columns, folded, fresh, rules),
        dead_letters=[letter for letter in dead_letters if letter.offset >= marks.effects],
        facts=[fact for fact in facts if fact.offset >= marks.effects],
        new_machines=[each for each in first_messages(columns, strangers) if each.offset >= marks.effects],
        requirements=changes(
            judged.changed[fresh[judged.changed["message"]]], columns, state.judgement, state.registry
        ),
        recalculations=recalculations(judged.again[fresh[judged.again["message"]]], columns),
        predictions=[each for each in folded.predicted if each.offset >= marks.effects],
        # Of a record only: what is stored of one may be a part of it
        checksum=None if last is None or are_stored(batch.records) else (zlib.crc32(last.value or b""), last.offset),
        watermark_ms=state.watermark_ms,
    )


def _refused(state: PartitionState, rules: FoldRules, columns: Columns, others: Collection[int]) -> dict[int, Refused]:
    senders, quarantine = Senders(columns.machine_ids, columns.factory_ids), rules.quarantine_unknown
    return refused_machines(senders, state.registry, state.has_machine, quarantine=quarantine, others=others)


class _Folded(NamedTuple):
    """Of a batch: which messages were no duplicates; spikes; what detectors and models found; maintenance; the future."""

    kept: npt.NDArray[np.bool_]
    spikes: npt.NDArray[np.void]
    alarms: npt.NDArray[np.void]
    modelled: list[Alarm]
    judged: Found
    predicted: list[Prediction]


def _fold_columns(state: PartitionState, columns: Columns, rules: FoldRules, marks: Marks) -> _Folded:
    numbers = state.layouts_of(columns.shapes, columns.numbers)
    state.deltas.reserve(len(columns.values))
    kept = np.empty(len(numbers), np.bool_)
    found = np.empty(len(columns.values), FOUND)
    messages = Messages(
        numbers,
        columns.offsets,
        columns.indexes,
        columns.times_ms,
        columns.ingest_ms,
        columns.seqs,
        columns.ends,
        columns.values,
    )
    before_ms = state.watermark_ms
    state.watermark_ms, state.deltas.used, flagged = fold_messages(
        messages,
        state.layout_arrays(),
        state.memory(len(numbers), len(columns.values), tells=rules.predicts),
        rules.numbers(),
        state.watermark_ms,
        state.deltas.used,
        marks.windows,
        kept,
        found,
    )
    state.adopt_lines(numbers, kept)
    delay_ms = rules.watermark_delay_ms
    judged = state.judgement.judge(messages, kept, state.registry, before_ms, delay_ms, marks.windows)
    layouts, census = state.layout_arrays(), state.census()
    alarms = state.detectors.inspect(messages, kept, layouts, rules.detectors, census)
    modelled = state.models.inspect(messages, kept, layouts, rules.detectors, census)
    predicted = _predicted(state, columns, messages, kept) if rules.predicts else []
    return _Folded(kept, found[:flagged], alarms, modelled, judged, predicted)


def _predicted(
    state: PartitionState, columns: Columns, messages: Messages, kept: npt.NDArray[np.bool_]
) -> list[Prediction]:
    found = forecasts(state, partial(_moment, columns)) + classes_of(state, columns, messages, kept)
    return sorted(found, key=attrgetter("offset", "index"))


def _anomalies(
    state: PartitionState, columns: Columns, folded: _Folded, fresh: npt.NDArray[np.bool_], rules: FoldRules
) -> list[Anomaly]:
    silent, spikes, alarms = state.silence.take(), folded.spikes, folded.alarms
    odd = odd_readings(state, columns, spikes[fresh[spikes["message"]]])
    if not len(silent) and not len(alarms) and not folded.modelled:
        return odd
    odd = with_alarms(odd, alarm_readings(state, columns, alarms[fresh[alarms["message"]]]))
    odd += model_readings(state, columns, [each for each in folded.modelled if fresh[each.message]])
    odd += silent_machines(state, silent[fresh[silent["message"]]], partial(_moment, columns), rules.silence_ms)
    return sorted(odd, key=attrgetter("offset", "index"))


def _moment(columns: Columns, message: int) -> Moment:
    places = (columns.offsets, columns.indexes, columns.times_ms, columns.ingest_ms)
    return Moment(*(int(each[message]) for each in places))


def project(
    state: PartitionState, expected: int, position: int, rules: FoldRules, controls_expected: int = 0
) -> Projections:
    """Take what is to be merged since the windows mark, and begin anew.

    Parameters
    ----------
    expected
        The windows mark as it is.
    position
        Where the state stands: the windows mark after the merge.
    controls_expected
        How many control records the merged rows hold.
    """
    state.settle_names()
    machines = machine_rows(state)
    windows = window_rows(state, rules.window.size_ms)
    return Projections(
        expected=expected,
        next=position,
        controls_expected=controls_expected,
        controls=state.registry.applied,
        watermark_ms=state.watermark_ms,
        cycles_to_ms=state.cycles.swept_ms - rules.cycle_gap_ms,
        windows=whole_windows(windows),
        factories=factory_rows(windows),
        cycles=cycle_rows(state, rules.cycle_gap_ms),
        requirements=requirement_rows(state),
        machines=machines,
    )

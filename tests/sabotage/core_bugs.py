"""Bugs in the fold and its rules."""

from __future__ import annotations

from tests.sabotage.bug import LOG, SIMULATION, SOME_SEEDS, Bug

_LAWS = "tests/core/test_fold_laws.py::"
_AGREES = _LAWS + "test_the_fold_agrees_with_the_rules_written_plainly"
_CYCLES = "tests/core/test_cycles.py::"
_CLASSES = "tests/core/test_requirements.py::"
_STRETCHES = "tests/core/prognosis/test_stretches.py::"
_PREDICTIONS = "tests/core/prognosis/test_predictions.py::"
_RESTARTS = _LAWS + "test_law_3_a_restart_from_a_snapshot_gives_the_same_tables"

CORE_BUGS = [
    # -- the marks -----------------------------------------------------------------------------------------------------
    Bug(
        "effects from before the mark are stored again",
        "pipeline.core.fold",
        "fresh = kept & (columns.offsets >= marks.effects)",
        "fresh = kept",
        _RESTARTS,
    ),
    Bug(
        "facts from before the mark are stored again",
        "pipeline.core.fold",
        "facts=[fact for fact in facts if fact.offset >= marks.effects]",
        "facts=columns.facts",
        _RESTARTS,
    ),
    Bug(
        "readings from before the windows mark are counted again",
        "pipeline.core.fold",
        "        marks.windows,\n",
        "        0,\n",
        _RESTARTS,
    ),
    # -- ownership -----------------------------------------------------------------------------------------------------
    Bug(
        "what the log was seen to hold before the marks moved is believed",
        "pipeline.core.marks",
        "        if present == seen:\n",
        "        if present.owner is not None:\n",
        SIMULATION,
        SOME_SEEDS,
    ),
    # -- snapshots and logs --------------------------------------------------------------------------------------------
    Bug(
        "another record in place of the last one is not noticed",
        "pipeline.core.marks",
        "evidence.checksum not in {None, seen.checksum}",
        "evidence.checksum not in {evidence.checksum}",
        LOG + "test_a_log_with_another_record_in_place_of_the_last_is_another_log",
    ),
    Bug(
        "windows of a lost log are given up",
        "pipeline.core.marks",
        "    if seen.windows < seen.effects:\n",
        "    if seen.windows < 0:\n",
        LOG + "test_a_lost_log_keeps_its_marks_until_its_windows_are_merged",
    ),
    # -- records that are refused --------------------------------------------------------------------------------------
    Bug(
        "dead letters are dropped",
        "pipeline.core.fold",
        "dead_letters=[letter for letter in dead_letters if letter.offset >= marks.effects]",
        "dead_letters=[]",
        _LAWS + "test_law_8_every_record_is_an_event_a_duplicate_or_a_dead_letter",
    ),
    # -- the rules of the plant ----------------------------------------------------------------------------------------
    Bug(
        "late readings are not counted",
        "pipeline.core.kernel",
        "        if counted:\n            entry, used",
        "        if counted and not late:\n            entry, used",
        _AGREES,
    ),
    Bug(
        "a reading is learned before it is scored",
        "pipeline.core.kernel",
        "    expected = sensor.mean\n",
        "    sensor.mean, sensor.variance, sensor.seen, sensor.streak = spike_learn(\n"
        "        sensor.mean, sensor.variance, sensor.seen, sensor.streak, value, 0.0, rules.threshold, rules.fading\n"
        "    )\n    expected = sensor.mean\n",
        _AGREES,
    ),
    Bug(
        "a flagged reading is learned",
        "pipeline.core.spikes",
        "    if abs(score) > threshold:\n        streak += 1",
        "    if abs(score) > 1e6 * threshold:\n        streak += 1",
        "tests/core/test_spikes.py::test_a_flagged_reading_teaches_nothing_until_it_is_the_new_level",
    ),
    Bug(
        "the memory of duplicates is not asked",
        "pipeline.core.kernel",
        "            return True, False\n",
        "            return False, False\n",
        _AGREES,
    ),
    Bug(
        "a message that comes late fills no gap",
        "pipeline.core.sequences",
        "        change = -1\n",
        "        change = 0\n",
        "tests/core/test_sequences.py::test_what_never_came_is_missing_whatever_the_order_and_the_batches",
    ),
    Bug(
        "of two versions the one that comes last wins",
        "pipeline.core.registry",
        "if known is not None and known.rank >= found.rank:",
        "if known is None and found is None:",
        "tests/core/test_metadata.py::test_of_two_equal_versions_every_partition_takes_the_same",
    ),
    Bug(
        "a command may expect any version",
        "pipeline.core.decoding.metadata",
        "if command.expected_version != version:",
        "if command.expected_version > version:",
        "tests/core/test_metadata.py::test_a_stale_version_is_rejected_and_says_what_it_is_now",
    ),
    Bug(
        "the watermark goes back",
        "pipeline.core.windowing.watermark",
        "return int(max(watermark_ms, min(event_ms, ingest_ms) - delay_ms))",
        "return int(min(event_ms, ingest_ms) - delay_ms)",
        _AGREES,
    ),
    Bug(
        "the watermark believes a clock that runs ahead",
        "pipeline.core.windowing.watermark",
        "min(event_ms, ingest_ms) - delay_ms)",
        "event_ms - delay_ms)",
        _AGREES,
    ),
    Bug(
        "the last reading is the one that came last",
        "pipeline.core.windowing.windows",
        "    if (at_ms, offset, index) >= (entry.last_time_ms, entry.last_offset, entry.last_index):\n",
        "    if at_ms > 0:\n",
        _AGREES,
    ),
    Bug(
        "a message from long before joins the present cycle",
        "pipeline.core.windowing.cycles",
        "time_ms < fragment.started_ms - gap_ms",
        "time_ms < -1",
        _CYCLES + "test_any_order_and_any_batches_give_the_cycles_of_a_sort_and_split",
    ),
    Bug(
        "pieces of cycles from before the windows mark are stored again",
        "pipeline.core.windowing.cycles",
        "    if emits:\n        closed = memory.closed[at]\n",
        "    if at >= 0:\n        closed = memory.closed[at]\n",
        _CYCLES + "test_a_cycle_that_was_open_in_a_snapshot_is_whole_after_a_restart",
    ),
    Bug(
        "open cycles are not part of a snapshot",
        "pipeline.core.windowing.cycles",
        '        self.open.load(arrays["cycles"])\n',
        '        self.open.load(arrays["cycles"])\n        self.open.rows["messages"] = 0\n',
        _CYCLES + "test_a_cycle_that_was_open_in_a_snapshot_is_whole_after_a_restart",
    ),
    # -- lives ---------------------------------------------------------------------------------------------------------
    Bug(
        "of maintenance that comes late the work since is forgotten",
        "pipeline.core.prognosis.stretches",
        'left = stretches[stretches["ended_ms"] > at_ms]',
        "left = stretches[:0]",
        _STRETCHES + "test_told_in_time_or_late_or_late_twice_a_life_goes_on_alike",
    ),
    Bug(
        "the oldest work of a life gives way",
        "pipeline.core.prognosis.stretches",
        "        stretches[i - 1] = stretches[i]\n",
        "        stretches[i - 1] = stretches[i]\n    stretches[0].operating_ms = 0\n",
        _STRETCHES + "test_a_late_life_is_as_old_as_the_work_since_but_for_pauses_that_are_not_kept",
    ),
    Bug(
        "when a machine worked is not part of a snapshot",
        "pipeline.core.prognosis.lives",
        '            "stretches": self.stretches.copy(),\n',
        '            "stretches": np.zeros_like(self.stretches.copy()),\n',
        _PREDICTIONS + "test_laws_2_and_3_batches_restarts_and_recorded_places_change_no_prediction",
    ),
    # -- maintenance classes -------------------------------------------------------------------------------------------
    Bug(
        "a message from before says what a machine needs now",
        "pipeline.core.maintenance.judgement",
        "    if time_ms < machine.last_ms:\n",
        "    if time_ms < 0:\n",
        _CLASSES + "test_what_came_before_is_counted_and_changes_nothing",
    ),
    Bug(
        "messages from before the windows mark are counted again",
        "pipeline.core.maintenance.judgement",
        "        if messages.offsets[i] >= windows_from:\n",
        "        if messages.offsets[i] > -1:\n",
        _CLASSES + "test_a_restart_from_a_snapshot_gives_the_same",
    ),
    Bug(
        "rules that changed are heard of by a new state only",
        "pipeline.core.maintenance.judgement",
        "            self._places = [self.rules.places(names) for names in self._kinds]\n",
        "",
        _CLASSES + "test_a_rule_holds_from_the_next_message_on_in_a_state_that_has_seen_others",
    ),
]

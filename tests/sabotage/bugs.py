"""Bugs that would break a promise, and the test that has to notice each."""

from __future__ import annotations

from typing import NamedTuple


class Bug(NamedTuple):
    """One change of a text that occurs exactly once in a module, and the test that fails with it.

    Parameters
    ----------
    options
        With which the test is run.
    """

    what: str
    module: str
    old: str
    new: str
    test: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.what.replace(" ", "-")


_LAWS = "tests/core/test_fold_laws.py::"
_AGREES = _LAWS + "test_the_fold_agrees_with_the_rules_written_plainly"
_RESTARTS = _LAWS + "test_law_3_a_restart_from_a_snapshot_gives_the_same_tables"
_MERGES = "tests/store/test_sink_laws.py::test_laws_1_2_8_any_batches_give_the_rows_once"
_SINK = "tests/store/test_sink.py::"
_PROGRESS = "tests/store/test_progress.py::"
_LOG = "tests/store/test_log_range.py::"
_FLUSH = "tests/agents/test_flush.py::"
_PARTITIONS = "tests/tables/test_partitions.py::"
_LOADING = "tests/tables/test_loading.py::"
_RELAY = "tests/agents/test_relay.py::"
_READING = "tests/broker/test_reading.py::"
_SIMULATION = "tests/simulation/test_simulation.py::test_whatever_happens_every_record_has_its_effect_once"
_SOME_SEEDS = ("--seeds=150",)

BUGS = [
    # -- the marks -----------------------------------------------------------------------------------------------------
    Bug(
        "whoever comes may move the marks",
        "pipeline.store.progress",
        " AND owner = %(owner)s AND effects_next",
        " AND effects_next",
        _SINK + "test_a_partition_that_has_another_owner_is_left_out_and_the_others_are_stored",
    ),
    Bug(
        "the expected effects mark is not compared",
        "pipeline.store.progress",
        " AND effects_next = %(expected)s",
        "",
        _SINK + "test_a_unit_that_does_not_begin_at_the_mark_is_refused",
    ),
    Bug(
        "the expected windows mark is not compared",
        "pipeline.store.progress",
        "AND windows_next = COALESCE(%(windows_expected)s, windows_next)",
        "AND windows_next = COALESCE(windows_next, %(windows_expected)s)",
        _SINK + "test_windows_are_refused_together_with_effects_when_their_mark_is_elsewhere",
    ),
    Bug(
        "effects and windows marks are swapped when they are moved",
        "pipeline.store.progress",
        "effects_next = %(next)s, windows_next = COALESCE(%(windows_next)s, windows_next)",
        "windows_next = %(next)s, effects_next = COALESCE(%(windows_next)s, effects_next)",
        _SINK + "test_the_same_unit_has_its_effect_once",
    ),
    Bug(
        "effects and windows marks are swapped when a partition is loaded",
        "tables.loading",
        "Marks(taken.effects, taken.windows)",
        "Marks(taken.windows, taken.effects)",
        _FLUSH + "test_a_state_that_is_behind_the_effects_mark_is_kept_at_its_own_offset",
    ),
    Bug(
        "a refused partition's effects are stored with the others",
        "pipeline.store.sink",
        "mine = [unit for unit in units if unit.source in hit]",
        "mine = list(units)",
        _SINK + "test_the_same_unit_has_its_effect_once",
    ),
    Bug(
        "effects from before the mark are stored again",
        "pipeline.core.fold",
        "fresh = kept & (columns.offsets >= marks.effects)",
        "fresh = kept",
        _RESTARTS,
    ),
    Bug(
        "readings from before the windows mark are counted again",
        "pipeline.core.fold",
        "        marks.windows,\n",
        "        0,\n",
        _RESTARTS,
    ),
    Bug(
        "the mark that is published is what was folded and not what is stored",
        "tables.partitions",
        "return {source: partition.effects_mark for",
        "return {source: partition.position for",
        _PARTITIONS + "test_what_is_folded_counts_as_stored_when_its_transaction_is",
    ),
    # -- ownership -----------------------------------------------------------------------------------------------------
    Bug(
        "a take-over leaves the owner as it was",
        "pipeline.store.takeover",
        "SET owner = %(owner)s,",
        "SET owner = COALESCE(owner, %(owner)s),",
        _PROGRESS + "test_every_owner_has_a_token_of_its_own",
    ),
    Bug(
        "a batch may begin anywhere",
        "tables.partitions",
        "return self.owned[batch.source].position == batch.start",
        "return self.owned[batch.source].position <= batch.start",
        _PARTITIONS + "test_batches_of_a_former_lease_or_from_elsewhere_are_told_apart",
    ),
    Bug(
        "a batch of a former lease is folded",
        "tables.partitions",
        "return partition is not None and partition.owner == batch.owner",
        "return partition is not None",
        _PARTITIONS + "test_batches_of_a_former_lease_or_from_elsewhere_are_told_apart",
    ),
    Bug(
        "a state that was kept aside goes on though somebody came between",
        "tables.partitions",
        "if parked is not None and _still_right(parked, taken) and",
        "if parked is not None and",
        _PARTITIONS + "test_what_was_folded_is_dropped_if_somebody_came_between",
    ),
    Bug(
        "a partition is taken over while its own transaction is under way",
        "tables.partitions",
        "await self._until(lambda: all(source != busy for busy, _ in self._in_flight))",
        "await self._until(lambda: True)",
        _PARTITIONS + "test_a_partition_is_not_acquired_while_its_unit_is_under_way",
    ),
    Bug(
        "a lease of a former generation is read with",
        "pipeline.broker.ownership",
        "            if acquired_in == generation:\n",
        "            if acquired_in:\n",
        "tests/broker/test_ownership.py::test_what_was_acquired_before_a_generation_ended_is_not_read",
    ),
    Bug(
        "reading goes on where the client stands and not where the lease says",
        "pipeline.broker.reading",
        "            await client.seek(source, lease.position)\n",
        "",
        _READING + "test_reading_begins_where_the_lease_says_wherever_the_client_stood",
    ),
    Bug(
        "records that do not follow are read on",
        "pipeline.broker.reading",
        "[source]))[source].start <= position:",
        "[source]))[source].start <= first:",
        _READING + "test_records_behind_a_log_start_that_moved_on_are_not_read_but_acquired_anew",
    ),
    Bug(
        "a commit with an unknown end is tried again",
        "agents.flush",
        "                await self._refuse(units)\n                return\n",
        "",
        _FLUSH + "test_an_unknown_commit_is_not_tried_again_but_acquired_anew",
    ),
    Bug(
        "a lost answer to COMMIT counts as a good one",
        "pipeline.store.sink",
        "raise CommitUnknown(msg) from error",
        "return hit",
        _SINK + "test_an_answer_to_commit_that_is_lost_is_unknown_and_the_marks_tell",
    ),
    Bug(
        "what the log was seen to hold before the marks moved is believed",
        "pipeline.core.marks",
        "        if present == seen:\n",
        "        if present.owner is not None:\n",
        _SIMULATION,
        _SOME_SEEDS,
    ),
    Bug(
        "the log is asked before the marks are seen",
        "pipeline.broker.ownership",
        "            seen = await self._leases.peek(wanted)\n"
        "            found = await ask({source: seen.get(source) for source in wanted})\n",
        "            found = await ask(dict.fromkeys(wanted))\n"
        "            seen = await self._leases.peek(wanted)\n"
        "            found = {source: each._replace(seen=seen.get(source)) for source, each in found.items()}\n",
        "tests/broker/test_ownership.py::test_the_log_is_asked_about_the_marks_that_were_seen_before",
    ),
    Bug(
        "a batch that does not follow is folded all the same",
        "agents.telemetry",
        "            if not self._partitions.follows(batch):\n",
        "            if batch.start < 0:\n",
        _SIMULATION,
        _SOME_SEEDS,
    ),
    Bug(
        "a refused partition is not acquired anew",
        "agents.flush",
        '            log.warning("flush.refused", source=str(source))\n            self._ownership.want_again(source)\n',
        '            log.warning("flush.refused", source=str(source))\n',
        _SIMULATION,
        _SOME_SEEDS,
    ),
    Bug(
        "a refused unit counts as stored",
        "tables.partitions",
        "            if unit.source in hit:\n",
        "            if held or unit.source in hit:\n",
        _SIMULATION,
        _SOME_SEEDS,
    ),
    # -- snapshots and logs --------------------------------------------------------------------------------------------
    Bug(
        "a snapshot may be ahead of a mark",
        "pipeline.store.snapshots",
        " AND effects_next >= %(offset)s AND windows_next >= %(offset)s",
        "",
        _PROGRESS + "test_a_snapshot_is_kept_only_by_the_owner_and_only_behind_both_marks",
    ),
    Bug(
        "a snapshot says it is at the mark wherever its state stands",
        "agents.flush",
        "partition.owner, partition.position, partition.state",
        "partition.owner, partition.effects_mark, partition.state",
        _FLUSH + "test_a_state_that_is_behind_the_effects_mark_is_kept_at_its_own_offset",
    ),
    Bug(
        "a snapshot of a lost log is loaded",
        "pipeline.store.takeover",
        "        cursor.execute(_FORGET_SNAPSHOT, key)\n",
        "        pass\n",
        _PROGRESS + "test_the_state_of_a_log_that_is_gone_is_not_loaded_when_the_new_log_has_come_as_far",
    ),
    Bug(
        "a gap is not noted",
        "pipeline.store.takeover",
        "        _note_gap(cursor, key, source, found.gap)\n",
        "        pass\n",
        _LOG + "test_a_log_start_beyond_the_marks_is_a_gap",
    ),
    Bug(
        "another record in place of the last one is not noticed",
        "pipeline.core.marks",
        "evidence.checksum not in {None, seen.checksum}",
        "evidence.checksum not in {evidence.checksum}",
        _LOG + "test_a_log_with_another_record_in_place_of_the_last_is_another_log",
    ),
    Bug(
        "a state that the log cannot give any more is not rebuilt",
        "tables.loading",
        "if position < end and taken.previous_owner is not None:",
        "if position < 0:",
        _LOADING + "test_a_rebuilt_partition_answers_as_one_that_was_never_lost",
    ),
    Bug(
        "windows of a lost log are given up",
        "pipeline.core.marks",
        "    if seen.windows < seen.effects:\n",
        "    if seen.windows < 0:\n",
        _LOG + "test_a_lost_log_keeps_its_marks_until_its_windows_are_merged",
    ),
    Bug(
        "a state that is behind goes on in a log that cannot bring it further",
        "tables.partitions",
        " and parked.position >= readable_from(taken, begins):",
        ":",
        _PARTITIONS + "test_a_state_that_was_still_being_folded_again_is_not_kept_when_its_log_is_lost",
    ),
    Bug(
        "events of a lost log are taken for the present one's",
        "pipeline.store.history",
        "  AND stored_time >= COALESCE((SELECT log_since FROM source_progress WHERE {KEY}), '-infinity')\n",
        "",
        "tests/store/test_history.py::test_what_was_stored_of_a_lost_log_is_not_read_for_the_present_one",
    ),
    # -- records that are refused --------------------------------------------------------------------------------------
    Bug(
        "a record that cannot be stored is left out and not noted",
        "agents.flush",
        "await self._vault.skip(source, owner, error.offset, DeadLetterReason.UNSTORABLE, error.reason)",
        "pass",
        _FLUSH + "test_a_record_that_can_never_be_stored_is_set_aside_and_the_other_partitions_are_stored",
    ),
    Bug(
        "what was half folded is kept",
        "agents.telemetry",
        "        self._partitions.revoke(batch.source)\n",
        "",
        "tests/agents/test_telemetry.py::test_the_record_on_which_the_fold_fails_is_found_and_set_aside",
    ),
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
        "the watermark goes back",
        "pipeline.core.watermark",
        "return max(watermark_ms, min(event_ms, ingest_ms) - delay_ms)",
        "return min(event_ms, ingest_ms) - delay_ms",
        _AGREES,
    ),
    Bug(
        "the watermark believes a clock that runs ahead",
        "pipeline.core.watermark",
        "min(event_ms, ingest_ms) - delay_ms)",
        "event_ms - delay_ms)",
        _AGREES,
    ),
    Bug(
        "the last reading is the one that came last",
        "pipeline.core.windows",
        "    if (at_ms, offset, index) >= (entry.last_time_ms, entry.last_offset, entry.last_index):\n",
        "    if at_ms > 0:\n",
        _AGREES,
    ),
    Bug(
        "merged windows keep the last reading that came and not the latest",
        "pipeline.store.merges",
        '" >= (old.last_time, old.last_source, old.last_offset, old.last_index)",',
        '" IS NOT NULL",',
        _MERGES,
    ),
    Bug(
        "merged windows have the wrong variance",
        "pipeline.store.merges",
        "* (old.count::float8 * excluded.count / (old.count + excluded.count)) END,",
        "* (old.count::float8 * excluded.count) END,",
        _MERGES,
    ),
    # -- what we publish -----------------------------------------------------------------------------------------------
    Bug(
        "the outbox is published from its end",
        "pipeline.store.outbox",
        "ORDER BY o.seq\n",
        "ORDER BY o.seq DESC\n",
        _RELAY + "test_anomalies_are_published_once_in_the_order_of_their_source_with_the_ids_of_their_events",
    ),
    Bug(
        "the topic is not asked what it has already",
        "agents.relay",
        "there |= await",
        "_ = await",
        _RELAY + "test_what_was_published_and_not_noted_is_found_in_the_topic",
    ),
    Bug(
        "whoever comes may note what was published",
        "pipeline.store.outbox",
        "  AND p.cluster = %(cluster)s AND p.consumer_group = %(group)s AND p.owner = ANY(%(owners)s)",
        "  AND p.cluster = %(cluster)s AND p.consumer_group = %(group)s",
        _RELAY + "test_only_the_owner_publishes_and_only_the_owner_notes_it",
    ),
    Bug(
        "an alert is published however old it is",
        "agents.relay",
        "Outcome.EXPIRED if message.expired else Outcome.PUBLISHED",
        "Outcome.PUBLISHED",
        _RELAY + "test_what_is_too_old_when_its_turn_comes_is_passed_and_counted",
    ),
]

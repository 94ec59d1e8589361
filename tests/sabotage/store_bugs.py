"""Bugs in what the database is told."""

from __future__ import annotations

from tests.sabotage.bug import LOG, RELAY, Bug

_MERGES = "tests/store/test_sink_laws.py::test_laws_1_2_8_any_batches_give_the_rows_once"
_SINK = "tests/store/test_sink.py::"
_PROGRESS = "tests/store/test_progress.py::"
_CONTROLS = "tests/store/test_controls.py::"

STORE_BUGS = [
    # -- facts ---------------------------------------------------------------------------------------------------------
    Bug(
        "facts are not looked at when one record cannot be stored",
        "pipeline.store.bisect",
        "        offsets.update(fact.offset for fact in part.facts)\n",
        "",
        _SINK + "test_a_fact_that_the_database_refuses_is_found_and_set_aside",
    ),
    Bug(
        "a fact that is folded again has no table",
        "pipeline.store.sink",
        "                    facts[told.kind].append(told.rows())\n",
        "                    told.rows()\n",
        _MERGES,
    ),
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
        "a refused partition's effects are stored with the others",
        "pipeline.store.sink",
        "mine = [unit for unit in units if unit.source in hit]",
        "mine = list(units)",
        _SINK + "test_the_same_unit_has_its_effect_once",
    ),
    # -- control records -----------------------------------------------------------------------------------------------
    Bug(
        "how many control records were applied is not compared",
        "pipeline.store.progress",
        " AND controls_next = %(controls)s",
        "",
        _CONTROLS + "test_what_a_partition_applied_is_compared_as_the_other_marks_are",
    ),
    Bug(
        "a snapshot may be ahead of the control records",
        "pipeline.store.snapshots",
        "  AND controls_next >= %(controls)s AND windows_controls >= %(controls)s\n",
        "",
        _CONTROLS + "test_a_snapshot_is_kept_only_behind_the_control_records_that_it_holds",
    ),
    Bug(
        "control records are looked for by the numbers that were seen",
        "pipeline.store.controls",
        " AND c.xid >= %(since)s::text::xid8\n",
        " AND c.xid > %(since)s::text::xid8\n",
        _CONTROLS + "test_what_is_committed_later_than_a_higher_number_is_found_all_the_same",
    ),
    Bug(
        "places in a lost log count in the new one",
        "pipeline.store.controls",
        "  AND (p.log_since IS NULL OR e.noted_at >= p.log_since)\n",
        "",
        _CONTROLS + "test_what_was_applied_in_a_log_that_is_lost_waits_for_the_new_one_and_may_have_the_same_place",
    ),
    Bug(
        "a new owner is not told what it may be told again",
        "pipeline.store.controls",
        "AND c.xid >= %(horizon)s::text::xid8 AND EXISTS",
        "AND c.xid < %(horizon)s::text::xid8 AND EXISTS",
        _CONTROLS + "test_what_a_new_owner_is_told_again_it_applied_before",
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
        "a lost answer to COMMIT counts as a good one",
        "pipeline.store.sink",
        "raise CommitUnknown(msg) from error",
        "return hit",
        _SINK + "test_an_answer_to_commit_that_is_lost_is_unknown_and_the_marks_tell",
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
        LOG + "test_a_log_start_beyond_the_marks_is_a_gap",
    ),
    Bug(
        "events of a lost log are taken for the present one's",
        "pipeline.store.history",
        "  AND stored_time >= COALESCE((SELECT log_since FROM source_progress WHERE {KEY}), '-infinity')\n",
        "",
        "tests/store/test_history.py::test_what_was_stored_of_a_lost_log_is_not_read_for_the_present_one",
    ),
    # -- the rules of the plant ----------------------------------------------------------------------------------------
    Bug(
        "merged windows keep the last reading that came and not the latest",
        "pipeline.store.merges",
        '" >= (old.last_time, old.last_source, old.last_offset, old.last_index)"',
        '" IS NOT NULL"',
        _MERGES,
    ),
    Bug(
        "merged windows have the wrong variance",
        "pipeline.store.merges",
        "* (old.count::float8 * excluded.count / (old.count + excluded.count)) END,",
        "* (old.count::float8 * excluded.count) END,",
        _MERGES,
    ),
    Bug(
        "cycles that grew together stay where they were",
        "pipeline.store.cycles",
        "for statement in (_JOIN, _FORGET, _KEEP, _READINGS):",
        "for statement in (_JOIN, _KEEP, _READINGS):",
        "tests/store/test_sink_laws.py::test_any_order_and_any_batches_give_the_cycles_of_a_sort_and_split",
    ),
    # -- what we publish -----------------------------------------------------------------------------------------------
    Bug(
        "the outbox is published from its end",
        "pipeline.store.outbox",
        "ORDER BY o.seq\n",
        "ORDER BY o.seq DESC\n",
        RELAY + "test_anomalies_are_published_once_in_the_order_of_their_source_with_the_ids_of_their_events",
    ),
    Bug(
        "whoever comes may note what was published",
        "pipeline.store.outbox",
        "  AND p.cluster = %(cluster)s AND p.consumer_group = %(group)s AND p.owner = ANY(%(owners)s)",
        "  AND p.cluster = %(cluster)s AND p.consumer_group = %(group)s",
        RELAY + "test_only_the_owner_publishes_and_only_the_owner_notes_it",
    ),
]

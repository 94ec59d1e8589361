"""Bugs in the partitions that a worker holds."""

from __future__ import annotations

from tests.sabotage.bug import FLUSH, SIMULATION, SOME_SEEDS, Bug

_PARTITIONS = "tests/tables/test_partitions.py::"
_LOADING = "tests/tables/test_loading.py::"
_CONTROLS = "tests/tables/test_controls.py::"

TABLES_BUGS = [
    # -- the marks -----------------------------------------------------------------------------------------------------
    Bug(
        "effects and windows marks are swapped when a partition is loaded",
        "tables.loading",
        "Marks(taken.effects, taken.windows,",
        "Marks(taken.windows, taken.effects,",
        FLUSH + "test_a_state_that_is_behind_the_effects_mark_is_kept_at_its_own_offset",
    ),
    Bug(
        "what a tick ended is counted by everybody who folds it again",
        "tables.partition",
        "counted=placed.ordinal >= marks.windows_controls",
        "counted=True",
        "tests/tables/test_controls.py::test_what_a_tick_ends_is_counted_once_whoever_folds_it_again",
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
        "a refused unit counts as stored",
        "tables.partitions",
        "            if unit.source in hit:\n",
        "            if held or unit.source in hit:\n",
        SIMULATION,
        SOME_SEEDS,
    ),
    # -- control records -----------------------------------------------------------------------------------------------
    Bug(
        "control records are applied while records are folded again",
        "tables.partition",
        "if not self._waiting or self.recorded or self.position < self.marks.effects:",
        "if not self._waiting:",
        _CONTROLS + "test_while_records_are_folded_again_nothing_new_is_applied",
    ),
    Bug(
        "a batch is not cut where a control record was applied",
        "tables.partition",
        "            effects = fold(self.state, part, rules, self.marks, self.skip)\n",
        "            effects = fold(self.state, batch if part.start == batch.start else replace(part, records=[]), rules,"
        " self.marks, self.skip)\n",
        _CONTROLS + "test_laws_2_3_9_any_cuts_crashes_and_arrivals_give_the_tables_of_one_fold",
    ),
    Bug(
        "what a snapshot holds is applied once more when somebody is told of it",
        "tables.partition",
        "self.take_in(control for control in controls if control.xid >= self.horizon)",
        "self.take_in(controls)",
        _CONTROLS + "test_of_what_is_told_again_only_that_is_applied_which_came_since_the_take_over",
    ),
    Bug(
        "a state goes on that knows more control records than the database",
        "tables.loading",
        "    if applied > known:\n",
        "    if applied > 10**9:\n",
        _CONTROLS + "test_a_state_that_knows_more_control_records_than_the_database_is_not_gone_on_with",
    ),
    Bug(
        "control records are left out that a snapshot does not hold",
        "tables.loading",
        "    found = placed(source, applied)\n",
        "    found = placed(source, applied)[:0]\n    return found\n",
        _CONTROLS + "test_a_take_over_that_reads_what_its_snapshot_lacks_is_one_that_reads_every_control_record",
    ),
    Bug(
        "nobody looks for what came while a partition was acquired",
        "tables.partitions",
        "self.controls_since = min(self.controls_since, taken.horizon)",
        "self.controls_since = min(self.controls_since, taken.horizon + 2)",
        _CONTROLS + "test_what_came_while_a_partition_was_acquired_is_looked_for",
    ),
    # -- snapshots and logs --------------------------------------------------------------------------------------------
    Bug(
        "a state that the log cannot give any more is not rebuilt",
        "tables.loading",
        "if partition.position < stored_to and taken.previous_owner is not None:",
        "if partition.position < 0:",
        _LOADING + "test_a_rebuilt_partition_answers_as_one_that_was_never_lost",
    ),
    Bug(
        "a state that is behind goes on in a log that cannot bring it further",
        "tables.partitions",
        " and parked.position >= readable_from(taken, begins):",
        ":",
        _PARTITIONS + "test_a_state_that_was_still_being_folded_again_is_not_kept_when_its_log_is_lost",
    ),
]

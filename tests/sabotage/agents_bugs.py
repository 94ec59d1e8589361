"""Bugs in what a worker does when."""

from __future__ import annotations

from tests.sabotage.bug import FLUSH, RELAY, SIMULATION, SOME_SEEDS, Bug

AGENTS_BUGS = [
    # -- ownership -----------------------------------------------------------------------------------------------------
    Bug(
        "event time follows a worker's clock that is ahead",
        "agents.ticker",
        "at_ms = min(at_ms, await self._database_clock())",
        "await self._database_clock()",
        "tests/agents/test_ticker.py::test_a_worker_whose_clock_is_ahead_ticks_by_the_clock_of_the_database",
    ),
    Bug(
        "a commit with an unknown end is tried again",
        "agents.flush",
        "                await self._refuse(units)\n                return\n",
        "",
        FLUSH + "test_an_unknown_commit_is_not_tried_again_but_acquired_anew",
    ),
    Bug(
        "a batch that does not follow is folded all the same",
        "agents.telemetry",
        "            if not self._partitions.follows(batch):\n",
        "            if batch.start < 0:\n",
        SIMULATION,
        SOME_SEEDS,
    ),
    Bug(
        "a refused partition is not acquired anew",
        "agents.flush",
        '            log.warning("flush.refused", source=str(source))\n            self._ownership.want_again(source)\n',
        '            log.warning("flush.refused", source=str(source))\n',
        SIMULATION,
        SOME_SEEDS,
    ),
    # -- snapshots and logs --------------------------------------------------------------------------------------------
    Bug(
        "a snapshot says it is at the mark wherever its state stands",
        "agents.flush",
        "partition.owner, partition.position, partition.state",
        "partition.owner, partition.effects_mark, partition.state",
        FLUSH + "test_a_state_that_is_behind_the_effects_mark_is_kept_at_its_own_offset",
    ),
    # -- records that are refused --------------------------------------------------------------------------------------
    Bug(
        "a record that cannot be stored is left out and not noted",
        "agents.flush",
        "await self._vault.skip(source, owner, error.offset, DeadLetterReason.UNSTORABLE, error.reason)",
        "pass",
        FLUSH + "test_a_record_that_can_never_be_stored_is_set_aside_and_the_other_partitions_are_stored",
    ),
    Bug(
        "what was half folded is kept",
        "agents.telemetry",
        "        self._partitions.revoke(batch.source)\n",
        "",
        "tests/agents/test_telemetry.py::test_the_record_on_which_the_fold_fails_is_found_and_set_aside",
    ),
    # -- what we publish -----------------------------------------------------------------------------------------------
    Bug(
        "the topic is not asked what it has already",
        "agents.relay",
        "there |= await",
        "_ = await",
        RELAY + "test_what_was_published_and_not_noted_is_found_in_the_topic",
    ),
    Bug(
        "an alert is published however old it is",
        "agents.relay",
        "Outcome.EXPIRED if message.expired else Outcome.PUBLISHED",
        "Outcome.PUBLISHED",
        RELAY + "test_what_is_too_old_when_its_turn_comes_is_passed_and_counted",
    ),
]

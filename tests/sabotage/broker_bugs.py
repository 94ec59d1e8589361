"""Bugs in what is read, and from where."""

from __future__ import annotations

from tests.sabotage.bug import Bug

_FETCHING = "tests/broker/test_fetching.py::"
_READING = "tests/broker/test_reading.py::"

BROKER_BUGS = [
    # -- ownership -----------------------------------------------------------------------------------------------------
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
        "the log is asked before the marks are seen",
        "pipeline.broker.ownership",
        "            seen = await self._leases.peek(wanted)\n"
        "            found = await ask({source: seen.get(source) for source in wanted})\n",
        "            found = await ask(dict.fromkeys(wanted))\n"
        "            seen = await self._leases.peek(wanted)\n"
        "            found = {source: each._replace(seen=seen.get(source)) for source, each in found.items()}\n",
        "tests/broker/test_ownership.py::test_the_log_is_asked_about_the_marks_that_were_seen_before",
    ),
    # -- what a fetch brought ------------------------------------------------------------------------------------------
    Bug(
        "the position counts records where offsets have holes",
        "pipeline.broker.fetching",
        "self.next_fetch_offset = records[-1].offset + 1",
        "self.next_fetch_offset += len(records)",
        _FETCHING + "test_records_taken_in_pieces_are_all_records_in_order_and_the_position_follows",
    ),
    Bug(
        "the mark where a transaction ends is taken for a record",
        "pipeline.broker.fetching",
        "        if not batch.is_control_batch:\n",
        "        if batch is not None:\n",
        _FETCHING + "test_the_mark_where_a_transaction_ends_is_no_record_and_the_position_goes_past_it",
    ),
]

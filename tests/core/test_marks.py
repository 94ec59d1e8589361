"""What a new owner thinks of marks and a log (R61), for whatever it may find."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from pipeline.core.errors import StaleEvidence
from pipeline.core.marks import Evidence, Gap, GapReason, LogRange, Reconciled, StoredMarks, reconcile

offsets = st.integers(0, 20)
ranges = st.tuples(offsets, offsets).map(lambda pair: LogRange(min(pair), max(pair)))
checksums = st.none() | st.integers(0, 2)


@st.composite
def marks(draw: st.DrawFn) -> StoredMarks:
    """Marks as they can be stored: windows never ahead of effects, the checksum of a record before the effects mark."""
    effects = draw(offsets)
    windows = draw(st.integers(0, effects))
    owner = draw(st.sampled_from(["one", "two"]))
    if effects == 0 or draw(st.booleans()):
        return StoredMarks(owner, effects, windows)
    return StoredMarks(owner, effects, windows, draw(st.integers(0, 2)), draw(st.integers(0, effects - 1)))


@given(marks(), ranges, checksums)
def test_reading_goes_on_within_the_log_and_whatever_is_passed_over_is_a_gap(
    seen: StoredMarks, held: LogRange, checksum: int | None
) -> None:
    found = reconcile(Evidence(seen, held, checksum), seen)

    if not found.settle_first:
        assert held.start <= found.effects <= held.end
    if found.log_is_ours:
        # What was stored of the records that are gone completes the windows
        assert found.windows == seen.windows
        passed_over = Gap(seen.effects, found.effects, GapReason.LOG_START_MOVED)
        assert found.gap == (passed_over if found.effects > seen.effects else None)
    elif found.settle_first:
        assert (found.effects, found.windows, found.gap) == (seen.effects, seen.windows, None)
        assert seen.windows < seen.effects
    else:
        assert seen.windows == seen.effects
        assert (found.effects, found.windows) == (held.start, held.start)
        assert found.gap is not None
        assert found.gap.reason is not GapReason.LOG_START_MOVED


@given(marks(), ranges, checksums)
def test_a_log_is_another_only_if_it_is_too_short_or_has_another_record(
    seen: StoredMarks, held: LogRange, checksum: int | None
) -> None:
    found = reconcile(Evidence(seen, held, checksum), seen)

    differs = None not in {checksum, seen.checksum} and checksum != seen.checksum
    assert found.log_is_ours == (seen.effects <= held.end and not differs)


@given(marks(), marks(), ranges, checksums)
def test_marks_that_moved_are_judged_by_no_older_evidence(
    seen: StoredMarks, present: StoredMarks, held: LogRange, checksum: int | None
) -> None:
    """But an owner that only went on, with nothing said against it, loses the partition as it is."""
    assume(present != seen)
    evidence = Evidence(seen, held, checksum)
    sound = reconcile(evidence, seen) == Reconciled(seen.effects, seen.windows)
    went_on = present.owner == seen.owner and present.effects >= seen.effects and present.windows >= seen.windows

    if sound and went_on:
        assert reconcile(evidence, present) == Reconciled(present.effects, present.windows)
    else:
        with pytest.raises(StaleEvidence):
            reconcile(evidence, present)


@given(marks(), ranges)
def test_marks_that_appeared_since_are_not_judged_and_a_row_without_owner_is_new(
    present: StoredMarks, held: LogRange
) -> None:
    with pytest.raises(StaleEvidence):
        reconcile(Evidence(None, held), present)

    new = StoredMarks(None, held.start, held.start)
    assert reconcile(Evidence(None, held), new) == Reconciled(held.start, held.start)

"""From figures to the report, and what must be known to read it."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.core.errors import SettingsError
from pipeline.verifying.intake import Intake
from pipeline.verifying.machines import Judge
from pipeline.verifying.places import Accounts
from pipeline.verifying.predictions import Predictions
from pipeline.verifying.question import Question
from pipeline.verifying.report import MachineFigures, Verification, worst_first
from pipeline.verifying.states import States

_BY_LEDGER = {"sent", "lost", "unexpected", "device_duplicates", "dead_letters", "refused"}
_ANOMALIES = {"anomalies", "anomalies_true", "anomalies_found"}
_ALWAYS = {
    "stored", "doubled", "above_marks", "windows", "windows_wrong", "unverified", "out_of_order", "sequence_gaps",
    "sequence_missing",
}  # fmt: skip
_SORTS = (
    "lost", "doubled", "unexpected", "unreadable", "above the marks", "unaccounted", "wrong window", "wrong state",
)  # fmt: skip


def outcome(
    question: Question,
    intake: Intake,
    judge: Judge,
    accounts: Accounts | None,
    states: States | None,
    predictions: Predictions,
    *,
    is_tracked: bool,
) -> Verification:
    """Return the report.

    Raises
    ------
    SettingsError
        If nothing lies within the bounds.
    """
    figures, by_ledger = judge.figures, question.ledger is not None
    has_states = states is not None and states.are_told
    told = _ALWAYS | (_BY_LEDGER if by_ledger else {"unreadable"}) | ({"states_wrong"} if has_states else set())
    if question.delay_ms is not None and accounts is not None:
        told.add("late")
    totals = {name: figures.total(name) if name in told else None for name in _PER_MACHINE}
    totals |= {name: figures.total(name) if by_ledger else None for name in _ANOMALIES}
    totals["unaccounted"] = None if by_ledger or accounts is None else accounts.unaccounted
    if not question.bounds.are_open and not (totals["stored"] or totals["sent"] or totals["windows"]):
        raise SettingsError("nothing is stored within --since, --until, --machine and --factory: widen them")
    given: dict[str, Any] = totals
    return Verification(
        **given,
        predictions=predictions.stored,
        predictions_misplaced=predictions.misplaced,
        latency_ms=judge.latencies.percentiles_ms(),
        examples=figures.examples(*_SORTS) + predictions.examples,
        gaps=figures.examples("gap"),
        notes=tuple(_notes(question, intake, accounts, has_states=has_states, is_tracked=is_tracked)),
        machines=_machines(intake, judge, told),
    )


_PER_MACHINE = sorted(_ALWAYS | _BY_LEDGER | {"unreadable", "states_wrong", "late"})


def _machines(intake: Intake, judge: Judge, told: set[str]) -> tuple[MachineFigures, ...]:
    names = intake.machines.texts
    columns = {name: judge.figures.of(name, len(names)) for name in _PER_MACHINE if name in told}
    # Machines that were only named, by a window of another topic or an anomaly, have nothing to report
    present = np.flatnonzero(sum((column != 0 for column in columns.values()), np.zeros(len(names), np.bool_)))
    untold: dict[str, Any] = dict.fromkeys(set(_PER_MACHINE) - told)
    machines = []
    for number, *row in zip(present.tolist(), *(column[present].tolist() for column in columns.values()), strict=True):
        latency = judge.by_machine.get(number, {})
        took: dict[str, Any] = {f"latency_{name}_ms": latency.get(name) for name in ("p50", "p95", "p99", "max")}
        counted: dict[str, Any] = dict(zip(columns, row, strict=True))
        machines.append(MachineFigures(machine_id=names[number], **counted, **untold, **took))
    return worst_first(machines)


def _notes(
    question: Question, intake: Intake, accounts: Accounts | None, *, has_states: bool, is_tracked: bool
) -> list[str]:
    notes = _notes_of_age(question)
    if not is_tracked:
        notes.append(
            "latency counts to the start of the storing transaction: the server has track_commit_timestamp off"
        )
    if accounts is None:
        notes.append(
            "within bounds, late messages and missing offsets cannot be told: they take whole source partitions"
        )
    if not question.is_timeless:
        notes.append("within a range of times, stored duplicates of devices count as unverified")
    if not question.bounds.are_timeless:
        notes.append("within --since and --until, states are not judged")
    return notes if question.ledger is not None else notes + _notes_alone(intake, accounts, has_states=has_states)


def _notes_of_age(question: Question) -> list[str]:
    notes, retained = [], question.retained
    if retained.since is not None:
        notes.append(
            f"events or windows from before {retained.since.isoformat()} may have been dropped because of their age: only what"
            " came after is judged"
        )
    if retained.letters_since is not None and question.ledger is not None:
        notes.append(
            f"dead letters from before {retained.letters_since.isoformat()} may have been dropped because of their age: what"
            " was sent before counts as lost in no case"
        )
    if not retained.is_all and question.ledger is None:
        notes.append("where rows were dropped because of their age, missing offsets cannot be told")
    return notes


def _notes_alone(intake: Intake, accounts: Accounts | None, *, has_states: bool) -> list[str]:
    notes = [
        "without a ledger nobody knows what was sent: what never came into the log is a gap in sequence numbers at most"
    ]
    sources = [intake.source_name(number) for number in range(len(intake.sources.texts))]
    unknown = [str(source) for source in sources if not intake.marks.is_known(source)]
    if unknown:
        notes.append(
            f"no mark, or several, for {', '.join(sorted(unknown)[:5])}: states and offsets there are not judged"
        )
    if accounts is None:
        return notes
    if accounts.uncounted:
        notes.append(
            f"a replay of what is stored was promoted, which could not count the duplicates dropped before: missing offsets of"
            f" {', '.join(sorted(map(str, accounts.uncounted))[:5])} cannot be told"
        )
    if not accounts.are_whole and has_states:
        notes.append("not all that ever came is stored: states may say more than the events")
    return notes

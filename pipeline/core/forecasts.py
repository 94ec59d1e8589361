"""What models say of operating cycles that ended, as predictions; and which models that are, as control records told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pipeline.core.columns import Columns
from pipeline.core.controls import MAINTAINED, MODEL, Control
from pipeline.core.kernel import Messages
from pipeline.core.predictions import Prediction
from pipeline.core.silent_machines import Moment
from pipeline.core.state import PartitionState


def learn(state: PartitionState, control: Control) -> None:
    """Let a state know what a control record says."""
    state.registry.apply(control)
    if control.kind == MODEL:
        state.prognosis.apply(control.body)
    elif control.kind == MAINTAINED:
        _renew(state, control)


def _renew(state: PartitionState, control: Control) -> None:
    machine_id, at_ms = control.body.get("machine_id"), control.body.get("time_ms")
    if not isinstance(machine_id, str) or not isinstance(at_ms, int) or not 0 <= at_ms < 2**48:
        state.prognosis.refuse(f"control record {control.id} says of no machine when it was maintained")
        return
    row = state.row_of(machine_id)
    if row is None:
        state.prognosis.foretell(machine_id, at_ms)
    else:
        state.prognosis.lives.renew(row, state.census(), at_ms)


def forecasts(state: PartitionState, moment: Callable[[int], Moment]) -> list[Prediction]:
    """Take the operating cycles that were closed since the state's memory was asked for; return what models say of them.

    Parameters
    ----------
    moment
        Says where and when a message was, by its number in the batch.
    """
    ended, readings = state.cycles.ended()
    predictions = []
    for each in state.prognosis.take(ended, readings, state.census(), state.slots):
        cycle = ended[each.cycle]
        row, at = int(cycle["machine"]), moment(int(cycle["message"]))
        predictions.append(
            Prediction(
                offset=at.offset,
                index=at.index,
                machine_id=state.machine_ids[row],
                factory_id=state.factory_of(row, int(cycle["layout"])),
                time_ms=int(cycle["ended_ms"]),
                ingest_ms=at.ingest_ms,
                message_ms=at.time_ms,
                model=each.model,
                label=each.label,
                value=each.value,
                lower=each.lower,
                upper=each.upper,
                inputs=each.inputs,
                hours_per_day=each.hours_per_day,
            )
        )
    return predictions


def classes_of(
    state: PartitionState, columns: Columns, messages: Messages, kept: npt.NDArray[np.bool_]
) -> list[Prediction]:
    """Return what models newly say of the maintenance that machines want, after a batch was judged by the rules."""
    classes, predictions = state.prognosis.classes, []
    if not classes.models:
        return []
    for message, number, requirement, by_rules, chance in classes.ask(
        messages, kept, state.judgement, state.first_types
    ).tolist():
        each = classes.models[number]
        readings = columns.readings_of(message)
        predictions.append(
            Prediction(
                **columns.place_of(message),
                message_ms=int(columns.times_ms[message]),
                model=each.reference,
                label=str(requirement),
                value=chance,
                lower=chance,
                upper=chance,
                inputs=tuple(readings[name] for name in each.model.features),
                by_rules=str(by_rules) if by_rules >= 0 else "",
            )
        )
    return predictions

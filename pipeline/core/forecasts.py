"""What models say of operating cycles that ended, as predictions; and which models that are, as control records told."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.core.controls import MAINTAINED, MODEL, Control
from pipeline.core.predictions import Prediction
from pipeline.core.silent_machines import Moment
from pipeline.core.state import PartitionState


def learn(state: PartitionState, control: Control) -> None:
    """Let a state know what a control record says."""
    state.registry.apply(control)
    if control.kind == MODEL:
        state.prognosis.apply(control.body)
    elif control.kind == MAINTAINED:
        row = state.row_of(str(control.body["machine_id"]))
        if row is not None:
            state.prognosis.lives.renew(row, state.census(), int(control.body["time_ms"]))


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
                hours_per_day=each.hours_per_day,
                inputs=each.inputs,
            )
        )
    return predictions

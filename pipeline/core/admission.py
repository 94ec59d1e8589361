"""Who may send: what the registry says about the machines of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.checks import Refused, shown
from pipeline.core.dead_letters import DeadLetterReason as Reason
from pipeline.core.registry import Registry


def refused_machines(machine_ids: Sequence[str], registry: Registry) -> dict[int, Refused]:
    """Return which messages of a batch are not accepted because of the machine that they are from.

    Parameters
    ----------
    machine_ids
        Of each message; shape (n,).

    Examples
    --------
    >>> refused_machines(["press-1"], Registry())
    {}
    """
    if registry.disabled.isdisjoint(machine_ids):
        return {}
    return {
        i: Refused(
            Reason.DEVICE_DISABLED,
            f"machine {shown(machine_id)} is disabled; enable it with `pipeline machines change`, then requeue the record",
        )
        for i, machine_id in enumerate(machine_ids)
        if registry.is_disabled(machine_id)
    }

"""The stages between a record batch and its commit: lease, fold, flush; wired together once for whoever drives the fold."""

from __future__ import annotations

import time
from dataclasses import dataclass

from agents.flush import Flusher, FlushRules
from agents.leases import PartitionLeases
from agents.telemetry import Telemetry
from agents.vault import DatabaseVault
from pipeline.broker.ownership import Ownership
from pipeline.rules import fold_rules
from pipeline.settings import Settings
from tables.partitions import Partitions


@dataclass(frozen=True, slots=True)
class Stages:
    """What a batch passes through.

    Parameters
    ----------
    partitions, ownership
        What is owned, and who decides that.
    telemetry, flusher
        Folds, and stores.
    """

    partitions: Partitions
    ownership: Ownership
    telemetry: Telemetry
    flusher: Flusher


def stages(settings: Settings, vault: DatabaseVault) -> Stages:
    """Wire the stages together.

    Parameters
    ----------
    vault
        Where effects, leases, snapshots and control records are kept.
    """
    flush = settings.flush
    partitions = Partitions(
        vault.take_over, vault.stored_events, vault.placed_controls, fold_rules(settings), flush.max_pending_records
    )
    ownership = Ownership(PartitionLeases(partitions, vault.peek))
    when = FlushRules(
        flush.min_interval_ms / 1000, flush.max_records, flush.windows_interval_s, flush.snapshot_interval_s
    )
    flusher = Flusher(partitions, ownership, vault, when, time.monotonic)
    return Stages(partitions, ownership, Telemetry(partitions, ownership, vault), flusher)

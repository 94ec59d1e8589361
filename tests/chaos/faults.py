"""The faults, by kind: what each does to the stand, and when its recovery begins to count.

A fault does its harm and ends it, and returns the moment from which on recovery is measured: for a worker that is killed,
stopped or frozen when that began, for services when they were back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos import log_faults, service_faults, worker_faults
from tests.chaos.proxy import Trouble
from tests.chaos.scene import Scene
from tests.chaos.service_faults import disturb


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Parameters
    ----------
    run
        Does it.
    locks
        What no other fault may touch meanwhile.
    weight
        How often it comes in a round of all kinds.
    most_records
        Log length beyond which it is not injected any more.
    from_begin
        Whether recovery counts from when it began: partitions commit again that have committed since then.
    """

    run: Callable[[Scene], float]
    locks: frozenset[str]
    weight: int = 1
    most_records: int = 2**62
    from_begin: bool = False


WORKERS, BROKER, DATABASE = frozenset({"workers"}), frozenset({"broker"}), frozenset({"database"})
EVERYTHING = WORKERS | BROKER | DATABASE

KINDS: dict[str, Kind] = {
    "worker_kill": Kind(worker_faults.kill, WORKERS, weight=3, from_begin=True),
    "worker_term": Kind(worker_faults.stop, WORKERS, weight=2, from_begin=True),
    "worker_freeze": Kind(worker_faults.freeze, WORKERS, weight=2, from_begin=True),
    "worker_dies_inside": Kind(worker_faults.die_inside, WORKERS),
    "worker_storm": Kind(worker_faults.storm, WORKERS),
    "broker_kill": Kind(service_faults.kill_broker, BROKER),
    "database_stop": Kind(service_faults.stop_database, DATABASE, weight=2),
    "database_terminate": Kind(service_faults.terminate_backends, DATABASE, weight=2),
    "database_restore": Kind(service_faults.restore_backup, DATABASE, weight=2),
    "database_read_only": Kind(service_faults.read_only, DATABASE),
    "database_disk_full": Kind(service_faults.fill_disk, DATABASE),
    "fold_fails_once": Kind(worker_faults.fail_once, WORKERS),
    "fold_fails_for_ever": Kind(worker_faults.fail_for_ever, WORKERS),
    # Its workers fold from the log's start: the longer the log, the more that is
    "other_version": Kind(worker_faults.run_other_version, WORKERS, most_records=1_500_000),
    "log_start_moved": Kind(log_faults.move_start, EVERYTHING),
    "topic_recreated": Kind(log_faults.recreate_topic, EVERYTHING),
    "broker_latency": Kind(disturb("broker", Trouble.LATENCY, 2, 6), BROKER),
    "broker_reset": Kind(disturb("broker", Trouble.RESET, 0.2, 1.5), BROKER),
    "broker_half_open": Kind(disturb("broker", Trouble.HALF_OPEN, 2, 10), BROKER),
    "broker_stall": Kind(disturb("broker", Trouble.STALL, 2, 10), BROKER),
    "broker_cut": Kind(disturb("broker", Trouble.CUT, 1, 6), BROKER),
    "database_latency": Kind(disturb("database", Trouble.LATENCY, 2, 6), DATABASE),
    "database_reset": Kind(disturb("database", Trouble.RESET, 0.2, 1.5), DATABASE),
    "database_half_open": Kind(disturb("database", Trouble.HALF_OPEN, 2, 10), DATABASE),
    "database_stall": Kind(disturb("database", Trouble.STALL, 2, 10), DATABASE),
    "database_cut": Kind(disturb("database", Trouble.CUT, 1, 6), DATABASE),
}

"""Control records: what changes the fold's answer other than the source records themselves."""

from __future__ import annotations

from typing import Any

import psycopg

from pipeline.core.dead_letters import DeadLetterReason
from pipeline.core.errors import DatabaseUnavailable
from pipeline.core.records import SourcePartition
from pipeline.crash_points import CrashPoint, reached
from pipeline.store.progress import KEY, Progress

_SKIP = f"""
INSERT INTO control_record (kind, cluster, consumer_group, topic, partition, "offset", reason, detail, created_by)
SELECT 'skip', cluster, consumer_group, topic, partition, %(offset)s, %(reason)s, %(detail)s, %(worker)s
FROM source_progress WHERE {KEY} AND owner = %(owner)s
FOR SHARE
"""


def skip(
    connection: psycopg.Connection[Any],
    progress: Progress,
    source: SourcePartition,
    owner: str,
    offset: int,
    reason: DeadLetterReason,
    detail: str,
) -> None:
    """Decide that one record becomes a dead letter, for this fold and every later one; only a partition's owner can.

    Whoever comes next may have found that the log is another one, in which the offset means another record.

    Parameters
    ----------
    owner
        Under whose lease the record was read.
    connection
        In autocommit mode.

    Raises
    ------
    DatabaseUnavailable
        If the database does not answer.
    """
    parameters = progress.key(source) | {
        "owner": owner,
        "offset": offset,
        "reason": str(reason),
        "detail": detail,
        "worker": progress.subscriber.worker,
    }
    try:
        reached(CrashPoint.BEFORE_CONTROL_RECORD)
        connection.execute(_SKIP, parameters)
        reached(CrashPoint.CONTROL_RECORD_WRITTEN)
    except psycopg.Error as error:
        msg = f"the control record for {source} offset {offset} was not stored: {str(error).partition(chr(10))[0]}"
        raise DatabaseUnavailable(msg) from error

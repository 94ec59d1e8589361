"""Connections to the database."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.core.errors import DatabaseUnavailable, SettingsError

Connection = psycopg.Connection[Any]

SCHEMA = "telemetry"
"""Where the live tables are."""

_DEAD_PEER = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 30_000}


def connect(
    dsn: str,
    *,
    autocommit: bool = False,
    application_name: str = "pipeline",
    connect_timeout_s: float = 10.0,
    lock_timeout_s: float = 0.0,
    schema: str = SCHEMA,
    waits_for_disk: bool = True,
    setting: str = "postgres.dsn or postgres.admin_dsn",
) -> Connection:
    """Open a connection that looks into a schema first and speaks UTC.

    Parameters
    ----------
    dsn
        libpq connection string or URI; what it sets wins over our defaults.
    connect_timeout_s
        Longest wait for the server's answer, s; at least 2.
    lock_timeout_s
        Longest wait for a lock, s; 0: for ever.
    schema
        Where tables are looked for; a plain identifier.
    waits_for_disk
        Whether a commit is told only when it would outlast a crash of the server.
    setting
        Which one the connection string is of, for people.

    Raises
    ------
    DatabaseUnavailable
        If the server does not answer or refuses; the text names the address and never the password.
    SettingsError
        If the connection string cannot be read.
    """
    given = _parameters(dsn)
    defaults: dict[str, Any] = {
        "application_name": application_name,
        "connect_timeout": max(2, round(connect_timeout_s)),
        **_DEAD_PEER,
    }
    try:
        connection: Connection = psycopg.connect(make_conninfo("", **(defaults | given)), autocommit=True)
    except psycopg.OperationalError as error:
        reason = _reason(error)
        # A server that refuses has been started
        mend = f"correct {setting}" if "FATAL:" in reason else f"start it, or correct {setting}"
        raise DatabaseUnavailable(f"the database at {address(dsn)} gives no connection: {reason}; {mend}") from error
    try:
        connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(schema)))
        connection.execute("SET timezone TO 'UTC'")
        connection.execute(f"SET lock_timeout TO {round(lock_timeout_s * 1000)}")
        if not waits_for_disk:
            connection.execute("SET synchronous_commit TO off")
        connection.autocommit = autocommit
    except psycopg.Error as error:
        connection.close()
        raise DatabaseUnavailable(f"the database at {address(dsn)} hung up: {error}") from error
    return connection


def address(dsn: str) -> str:
    """Return host, port and database of a connection string, for people.

    Examples
    --------
    >>> address("postgresql://worker:secret@db.example:6543/plant")
    'db.example:6543/plant'
    """
    given = _parameters(dsn)
    return f"{given.get('host', 'localhost')}:{given.get('port', 5432)}/{given.get('dbname', '')}"


def _reason(error: psycopg.OperationalError) -> str:
    """Return why there is no connection, without the question that libpq asks in an indented line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("\t")]
    return " ".join(lines).removeprefix("connection failed: ").removeprefix("connection is bad: ")


def _parameters(dsn: str) -> dict[str, Any]:
    try:
        return {name: value for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.ProgrammingError as error:
        # The driver's own text may repeat the password
        raise SettingsError(
            "postgres.dsn or postgres.admin_dsn is no connection string; write postgresql://user@host:5432/database"
        ) from error

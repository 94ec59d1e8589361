"""The embedded database: it keeps what was committed, whatever ended it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from pipeline.core.errors import DatabaseUnavailable, SettingsError
from pipeline.processes import command_line, free_port, wait_until
from pipeline.store import embedded
from pipeline.store.embedded import EmbeddedPostgres
from tests import leftovers

_STARTS_AND_WAITS = """
import sys, time
from pathlib import Path
from pipeline.store.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1])).start()
print(server.pid, server.dsn, flush=True)
time.sleep(600)
"""


def test_programs_run_from_the_copy_that_is_made_for_a_user_who_may_not_enter_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(embedded, "_may_enter", lambda folder: False)

    programs = embedded._binaries("nobody")

    assert programs.is_relative_to(tmp_path)
    for program in ("initdb", "postgres", "pg_basebackup"):
        assert "PostgreSQL" in subprocess.check_output([programs / program, "--version"], text=True)
    assert embedded._binaries("nobody") == programs


def test_what_was_committed_outlives_kill_and_stop(own_postgres: Callable[..., EmbeddedPostgres]) -> None:
    server = own_postgres(max_connections="20")
    dsn = server.dsn
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS x")

    server.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)
    server.start()
    server.stop()
    server.start()

    assert server.dsn == dsn
    assert _row(dsn, "SELECT x FROM kept") == (1,)
    names = ("fsync", "synchronous_commit", "track_commit_timestamp", "max_connections")
    assert [_row(dsn, f"SHOW {name}") for name in names] == [("on",), ("on",), ("on",), ("20",)]


def test_a_login_needs_its_password(own_postgres: Callable[..., EmbeddedPostgres]) -> None:
    server = own_postgres()
    with psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'p@ss/word'")

    assert _row(server.dsn_for("postgres", "reader", "p@ss/word"), "SELECT current_user") == ("reader",)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.dsn_for("postgres", "reader", "wrong"))


def test_a_database_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    with leftovers.parent(_STARTS_AND_WAITS, tmp_path) as parent:
        pid = int(leftovers.said(parent)[0])
        assert "postgres" in command_line(pid)

        parent.kill()
        parent.wait()

        assert wait_until(lambda: not command_line(pid), 20.0)
    EmbeddedPostgres(tmp_path).start().remove()


def test_a_folder_left_by_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    with leftovers.parent(_STARTS_AND_WAITS, tmp_path) as parent:
        pid, dsn = leftovers.said(parent)
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
        with pytest.raises(SettingsError, match="in use by another run"):
            EmbeddedPostgres(tmp_path).start()
        # Frozen, the guard cannot end the server: it is a leftover
        guard = leftovers.child_named(parent.pid, "guard")
        os.kill(guard, signal.SIGSTOP)
        parent.kill()
        parent.wait()

        server = EmbeddedPostgres(tmp_path)
        try:
            server.start()
            assert not command_line(int(pid))
            assert _row(server.dsn, "SELECT x FROM kept") == (1,)
        finally:
            os.kill(guard, signal.SIGKILL)
            server.remove()


def test_two_start_at_the_same_time(tmp_path: Path) -> None:
    servers = [EmbeddedPostgres(tmp_path / name) for name in ("a", "b")]
    try:
        with ThreadPoolExecutor() as pool:
            dsns = {server.dsn for server in pool.map(EmbeddedPostgres.start, servers)}
    finally:
        for server in servers:
            server.remove()

    assert len(dsns) == 2


def test_a_taken_port_is_named(own_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path) -> None:
    taken = int(own_postgres().dsn.rpartition(":")[2].partition("/")[0])
    server = EmbeddedPostgres(tmp_path / "second", port=taken)

    with pytest.raises(DatabaseUnavailable, match=f"port {taken} is taken"):
        server.start()

    server.remove()
    assert free_port() != taken


def test_an_interrupted_first_start_is_made_good(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    server.start()
    server.stop()
    (tmp_path / "password").unlink()

    try:
        assert _row(server.start().dsn, "SELECT 1") == (1,)
    finally:
        server.remove()


def _row(dsn: str, query: str) -> tuple[object, ...] | None:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchone()

"""Base backups of a running PostgreSQL, and putting one in place of what the server has."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict


class Backup:
    """A base backup with the WAL that makes it consistent, beside the server's data folder.

    Parameters
    ----------
    dsn
        A superuser's connection string to the running server.
    """

    def __init__(self, dsn: str) -> None:
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                "SELECT current_setting('data_directory'), setting FROM pg_config WHERE name = 'BINDIR'"
            ).fetchone()
        assert row is not None
        self._data, binaries = Path(row[0]), Path(row[1])
        owner = self._data.stat()
        # The server's user writes it, in a folder that belongs to it
        self._home = self._data.with_name("backup")
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.mkdir(mode=0o700)
        os.chown(self._home, owner.st_uid, owner.st_gid)
        given = conninfo_to_dict(dsn)
        subprocess.run(
            [
                str(binaries / "pg_basebackup"), f"--pgdata={self._home / 'data'}", "--checkpoint=fast", "--no-sync",
                "--wal-method=stream", f"--host={given['host']}", f"--port={given['port']}", f"--username={given['user']}",
            ],
            env={"PGPASSWORD": str(given["password"])},
            user=None if owner.st_uid == os.geteuid() else pwd.getpwuid(owner.st_uid).pw_name,
            group=None if owner.st_uid == os.geteuid() else owner.st_gid,
            cwd="/",
            check=True,
            capture_output=True,
        )  # fmt: skip

    def put_back(self) -> None:
        """Take the place of the data; the server must be stopped."""
        gone = self._data.with_name("gone")
        shutil.rmtree(gone, ignore_errors=True)
        self._data.rename(gone)
        (self._home / "data").rename(self._data)
        shutil.rmtree(gone)
        self.discard()

    def discard(self) -> None:
        """Delete it."""
        shutil.rmtree(self._home, ignore_errors=True)

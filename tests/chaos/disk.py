"""A file system of its own that can be filled up: the only honest way to a disk that is full."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path


def can_mount() -> bool:
    """Return whether this user may make and mount a file system from a file."""
    return os.geteuid() == 0 and Path("/dev/loop-control").exists() and shutil.which("mkfs.ext4") is not None


class Disk:
    """An ext4 file system in a sparse file.

    Parameters
    ----------
    gigabytes
        Its size; the file takes only what is written.
    """

    def __init__(self, gigabytes: int) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="chaos-disk-", dir="/var/tmp"))
        self._home.chmod(0o755)
        self._image, self.folder = self._home / "image", self._home / "disk"
        self._ballast = self.folder / "ballast"
        self.folder.mkdir()
        with self._image.open("wb") as image:
            image.truncate(gigabytes << 30)
        _run("mkfs.ext4", "-q", "-m", "0", str(self._image))
        _run("mount", "-o", "loop", str(self._image), str(self.folder))

    def fill(self) -> int:
        """Leave no free block; return how many bytes that took."""
        taken = 0
        with self._ballast.open("wb") as ballast:
            size = 1 << 30
            while size >= 4096:
                try:
                    os.posix_fallocate(ballast.fileno(), taken, size)
                    taken += size
                except OSError:
                    size //= 2
        return taken

    def empty(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmount it and delete it."""
        for _ in range(20):
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("umount", str(self.folder))
                break
            time.sleep(0.5)
        else:
            _run("umount", "--lazy", str(self.folder))
        shutil.rmtree(self._home, ignore_errors=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)

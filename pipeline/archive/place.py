"""Where an archive lies: a folder, or whatever fsspec has an address for. A file is there whole, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.core.errors import ArchiveUnavailable, SettingsError

_EXTRAS = {"s3": "s3", "s3a": "s3", "abfs": "azure", "abfss": "azure", "az": "azure", "adl": "azure"}
"""Which extra of this package brings the driver for an address."""

_AT_ONCE = 1000
_UNFINISHED = ".unfinished"


class Place:
    """Files by their paths below an address.

    Parameters
    ----------
    address
        A folder, or an address such as ``s3://bucket/folder``. Who we are there, the driver finds out as it always does: from
        the environment, or from what the machine was given.

    Raises
    ------
    SettingsError
        If the address cannot be read, or the driver for it is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        protocol = address.partition("://")[0] if "://" in address else "file"
        try:
            self._fs, root = fsspec.url_to_fs(address)
        except ImportError as error:
            wanted = f"factory-telemetry-pipeline[{_EXTRAS[protocol]}]" if protocol in _EXTRAS else str(error)
            raise SettingsError(
                f"archive.address: the driver for {protocol}:// is not installed: install {wanted}"
            ) from error
        except (ValueError, TypeError) as error:
            raise SettingsError(
                f"archive.address: {address} is no folder and no address that is known: {error}"
            ) from error
        self._root = str(root).rstrip("/")
        self._durable: set[Path] = set()

    def write(self, path: str, content: bytes) -> None:
        """Write a file, in place of the one there was; once this returns, it outlives a power cut."""
        with self._telling("does not take", path):
            if isinstance(self._fs, LocalFileSystem):
                whole = Path(self._whole(path))
                if whole.parent not in self._durable:
                    _make_durably(whole.parent, Path(self._root))
                    self._durable.add(whole.parent)
                _write_durably(whole, content)
            else:
                self._fs.pipe_file(self._whole(path), content)

    def read(self, path: str) -> bytes:
        """Return a file; raises :class:`FileNotFoundError` if it is not there."""
        with self._telling("does not give", path, may_be_absent=True):
            content: bytes = self._fs.cat_file(self._whole(path))
            return content

    def read_all(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield files with their paths, many at once where that is faster."""
        for begin in range(0, len(paths), _AT_ONCE):
            some = {self._whole(path): path for path in paths[begin : begin + _AT_ONCE]}
            with self._telling("does not give", "manifests"):
                found = self._fs.cat(list(some), on_error="raise")
            for whole, content in found.items():
                yield some[str(whole)], content

    def size(self, path: str) -> int | None:
        """Return the size of a file, bytes; ``None`` if it is not there."""
        try:
            with self._telling("does not say", path, may_be_absent=True):
                return int(self._fs.size(self._whole(path)))
        except FileNotFoundError:
            return None

    def files(self, folder: str) -> list[str]:
        """Return the paths of all files below a folder, sorted; none if the folder is not there."""
        with self._telling("does not list", folder):
            self._fs.invalidate_cache()
            found = self._fs.find(self._whole(folder))
        begin = len(self._root) + 1
        return sorted(str(path)[begin:] for path in found if not str(path).endswith(_UNFINISHED))

    def delete(self, path: str) -> None:
        """Delete a file, if it is there."""
        with self._telling("does not delete", path):
            try:
                self._fs.rm_file(self._whole(path))
            except FileNotFoundError:
                return

    def _whole(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextmanager
    def _telling(self, what: str, path: str, *, may_be_absent: bool = False) -> Iterator[None]:
        """Make one line of whatever a driver raises: each has a tree of errors of its own."""
        try:
            yield
        except Exception as error:
            if may_be_absent and isinstance(error, FileNotFoundError):
                raise
            said = " ".join(str(error).split()) or type(error).__name__
            raise ArchiveUnavailable(f"the archive at {self.address} {what} {path}: {said}") from error


def _make_durably(folder: Path, root: Path) -> None:
    """Make a folder and those above it so that they outlive a power cut, also those that a killed run made below the root."""
    made = [each.parent for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    below = [each for each in folder.parents if each.is_relative_to(root)]
    for each in dict.fromkeys([*below, *made]):
        _sync(each)


def _write_durably(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{secrets.token_hex(8)}{_UNFINISHED}")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

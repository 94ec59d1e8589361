"""How far the import of a file has come: a small file that says what the broker has acknowledged."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from pipeline.core.errors import SettingsError


@dataclass(slots=True)
class Progress:
    """An import of one file into one topic.

    Parameters
    ----------
    identity
        What the messages and their order follow from; another one is another import.
    began_ms
        When it was begun, ms since the epoch, UTC: what is in the future is judged against this, also later on.
    delivered
        How many messages, from the first on, the broker has acknowledged.
    sending_to
        How many it may have: what lies between the two was under way.
    ends
        For each partition, the offset behind what was in it before the messages that are under way.
    complete
        Whether everything is delivered.
    """

    identity: dict[str, Any]
    began_ms: int
    delivered: int = 0
    sending_to: int = 0
    ends: dict[int, int] = field(default_factory=dict)
    complete: bool = False


def read(path: Path) -> Progress | None:
    """Return how far an import has come; ``None`` if it was never begun.

    Raises
    ------
    SettingsError
        If the file cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Progress)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise SettingsError(
            f"{path} is damaged, so nobody knows what was sent: {error}; --again sends all rows"
        ) from error


def write(path: Path, progress: Progress) -> None:
    """Keep how far an import has come; after a power cut, there is the old file or the new one.

    Raises
    ------
    SettingsError
        If the file cannot be written.
    """
    new = path.with_name(path.name + ".new")
    try:
        with new.open("wb") as file:
            file.write(msgspec.json.encode(asdict(progress)))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}; choose a --folder") from error


def fingerprint(path: Path) -> str:
    """Return what stands for the bytes of a file.

    Raises
    ------
    SettingsError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error


def seq_base(print_of_file: str) -> int:
    """Return what a row's place is added to for its sequence number: another one for another file, below 2**63.

    Examples
    --------
    >>> seq_base("ffffffff00") == (2**31 - 1) << 32
    True
    """
    return (int(print_of_file[:8], 16) >> 1) << 32

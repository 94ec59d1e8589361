"""The report of rows that became no message."""

from __future__ import annotations

import csv
import fcntl
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pipeline.core.errors import SettingsError
from pipeline.tabular.rows import Reject

COLUMNS = ("file", "line", "reason", "detail", "row")
EXAMPLES = 5
"""How many rejects are shown beside the report."""


class RejectReport:
    """A CSV file with every reject of one file: written anew each time, gone if there is none.

    As long as it is open, nobody else can import the same file with it.

    Parameters
    ----------
    path
        The report.
    file
        What is imported.

    Raises
    ------
    SettingsError
        If it cannot be written, or another import of the file is at work.
    """

    def __init__(self, path: Path, file: Path) -> None:
        self.path, self._name = path, str(file)
        self.reasons: Counter[str] = Counter()
        self.examples: list[Reject] = []
        try:
            self._file = path.open("a", encoding="utf-8", errors="backslashreplace", newline="")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise SettingsError(f"another import of {file} is at work: it holds {path}") from None
        except OSError as error:
            raise SettingsError(f"the report {path} cannot be written: {error.strerror}; choose a --folder") from error
        self._file.truncate(0)
        self._writer = csv.writer(self._file)
        self._writer.writerow(COLUMNS)

    def __enter__(self) -> RejectReport:
        return self

    def __exit__(self, *error: object) -> None:
        if not self.reasons:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def write(self, rejects: Iterable[Reject]) -> None:
        """Add rejects."""
        for reject in rejects:
            self.reasons[reject.reason] += 1
            self._writer.writerow((self._name, *reject))
            if len(self.examples) < EXAMPLES:
                self.examples.append(reject)

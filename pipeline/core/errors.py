"""The errors of the pipeline, as one tree.

::

    PipelineError                 anything this project raises on purpose
    ├── SettingsError             a setting is missing or wrong            exit 78
    ├── BrokerUnavailable         the broker does not answer    retriable  exit 69
    ├── DatabaseUnavailable       the database does not answer  retriable  exit 69
    ├── ArchiveUnavailable        the archive does not answer   retriable  exit 69
    ├── ArchiveDamaged            a file of the archive is not what its manifest says
    ├── SchemaOutdated            migrations are missing                   exit 65
    ├── CommitUnknown             the connection was lost inside COMMIT
    ├── StaleEvidence             marks moved while judged      retriable
    ├── NotOwner                  another worker owns the partition now
    ├── NotReproducible           what was found cannot be found again     exit 66
    ├── ModelRefused              a model is damaged, or none that this version knows
    ├── Unstorable                one record can never be stored
    ├── FoldBroken                record after record fails in the fold    exit 70
    ├── ProgramFault              nobody expected what was raised          exit 70
    └── NoProgress                records wait, and the worker does nothing exit 75

``retriable`` says whether the same call may succeed later without anybody's help; retry loops ask it and match no
message text. ``exit_code`` is what the command line ends with (the numbers of ``sysexits.h``).
"""

from __future__ import annotations

from typing import ClassVar


class PipelineError(Exception):
    """Anything this project raises on purpose; its text is one line that says what to do."""

    retriable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class SettingsError(PipelineError):
    """A setting is missing or wrong; the text names the key and where its value came from."""

    exit_code = 78


class BrokerUnavailable(PipelineError):
    """The broker does not answer; the text names the address."""

    retriable = True
    exit_code = 69


class DatabaseUnavailable(PipelineError):
    """The database does not answer; the text names the address, never the password."""

    retriable = True
    exit_code = 69


class ArchiveUnavailable(PipelineError):
    """The archive cannot be read or written; the text names its address."""

    retriable = True
    exit_code = 69


class ArchiveDamaged(PipelineError):
    """A file of the archive is missing, or is not what its manifest says; the text names it."""


class SchemaOutdated(PipelineError):
    """The database lacks migrations this version needs; the text says ``pipeline migrate``."""

    exit_code = 65


class CommitUnknown(PipelineError):
    """The connection was lost inside COMMIT: the marks in the database say what happened, so acquire anew and read them."""


class StaleEvidence(PipelineError):
    """The marks moved while the log was asked about them: see them and ask again."""

    retriable = True


class NotOwner(PipelineError):
    """The compare-and-set missed: another worker owns the partition, or the database was restored."""


class ModelRefused(PipelineError):
    """A model's artefact is damaged, or none that this version can work with; the text says what to do."""


class NotReproducible(PipelineError):
    """What was found once cannot be worked out again: what it takes is gone, or the rules are others; the text says which."""

    exit_code = 66


class Unstorable(PipelineError):
    """One record can never be stored, whatever is retried.

    Parameters
    ----------
    topic, partition, offset
        Where the record is.
    reason
        What the database says about it, in one line.
    """

    def __init__(self, topic: str, partition: int, offset: int, reason: str) -> None:
        super().__init__(f"{topic}[{partition}] offset {offset} cannot be stored: {reason}")
        self.topic, self.partition, self.offset, self.reason = topic, partition, offset, reason


class FoldBroken(PipelineError):
    """Record after record fails in the fold: this is a fault of the program, not of the records."""

    exit_code = 70


class ProgramFault(PipelineError):
    """Something was raised that nobody expected; the text says what."""

    exit_code = 70


class NoProgress(PipelineError):
    """Records wait, nothing is in the way, and the worker does nothing: only a new process helps."""

    exit_code = 75

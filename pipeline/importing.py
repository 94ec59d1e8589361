"""Files of history, from rows to a topic or to a file of messages."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import connections
from pipeline.broker import retention, topics
from pipeline.broker.publishing import Publisher
from pipeline.core.errors import SettingsError
from pipeline.core.fold import FoldRules
from pipeline.delivery import Destination, Lines, Nowhere, Topic
from pipeline.rules import fold_rules
from pipeline.settings import Settings
from pipeline.tabular import mapping as mappings
from pipeline.tabular import progress as keeping
from pipeline.tabular.judging import judge, open_table
from pipeline.tabular.mapping import Mapping
from pipeline.tabular.ordering import Order, in_time_order
from pipeline.tabular.progress import Progress
from pipeline.tabular.rejects import RejectReport
from pipeline.tabular.rows import Reject

PATIENCE_S = 60.0
"""Longest wait for the broker to take a batch of messages, s."""

FOR_EVER = {"retention.ms": "-1"}
"""How a topic that is made for history keeps it: its records are old when they come."""

Told = Callable[[Path, int, int, int], None]
"""Called with a file, how much of it was read, how much there is, and the rows so far."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What is to be done.

    Parameters
    ----------
    mapping
        The mapping file.
    topic
        Where to; empty: the first source topic.
    create
        Make the topic if it is missing.
    output
        A file to write instead.
    dry_run
        Judge only.
    sort
        Send each file in the order of time.
    rate
        Messages per second at most; 0: as fast as it goes.
    event_time
        Whether records get the time of their event; else the present one.
    again
        Send also what an earlier run has sent.
    folder
        Where reports and progress are kept; ``None``: beside each file.
    """

    mapping: Path
    topic: str = ""
    create: bool = False
    output: Path | None = None
    dry_run: bool = False
    sort: bool = False
    rate: float = 0.0
    event_time: bool = True
    again: bool = False
    folder: Path | None = None

    def beside(self, file: Path, ending: str) -> Path:
        """Return the name of a file that goes with an imported one."""
        return (self.folder or file.parent) / f"{file.name}{ending}"


@dataclass(slots=True)
class FileOutcome:
    """What became of a file.

    Parameters
    ----------
    rows, messages
        How many it has.
    sent, there
        Messages that were sent now, and that the topic had from an earlier run.
    refused
        Rows by reason.
    report
        Where they are; ``None``: there are none.
    examples
        The first of them.
    """

    file: str
    rows: int = 0
    messages: int = 0
    sent: int = 0
    there: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    report: str | None = None
    examples: list[Reject] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What became of all files.

    Parameters
    ----------
    topic
        Where messages went; empty: to none.
    late, backwards
        As in :class:`pipeline.tabular.ordering.Order`.
    """

    topic: str
    files: list[FileOutcome]
    late: int
    backwards: int

    @property
    def refused(self) -> int:
        """Rows that became no message."""
        return sum(sum(each.refused.values()) for each in self.files)


def run(settings: Settings, files: Sequence[Path], options: ImportOptions, tell: Told) -> ImportOutcome:
    """Import files, one after the other.

    Raises
    ------
    SettingsError
        If the mapping, an option or a file is wrong.
    BrokerUnavailable
        If the broker does not take what is sent; the same command goes on later.
    """
    mapping, rules = mappings.load(options.mapping), fold_rules(settings)
    # All files are looked at before anything of one is sent
    for file in files:
        open_table(file, mapping).close()
    order = Order(rules.watermark_delay_ms, rules.window)
    topic = "" if options.dry_run or options.output is not None else _topic(settings, options)
    with _destinations(settings, mapping, rules, topic, options) as destination_of:
        outcomes = [_import(file, mapping, rules, options, order, destination_of, tell) for file in files]
    return ImportOutcome(topic, outcomes, order.late, order.backwards)


DestinationOf = Callable[[Path, str], tuple[Destination, int]]
"""Returns where the messages of a file go, by its fingerprint, and against which time its future is judged."""


def _import(
    file: Path,
    mapping: Mapping,
    rules: FoldRules,
    options: ImportOptions,
    order: Order,
    destination_of: DestinationOf,
    tell: Told,
) -> FileOutcome:
    outcome = FileOutcome(str(file))
    path = options.beside(file, ".rejects.csv")
    with RejectReport(path, file) as report, closing(open_table(file, mapping)) as table:
        print_of_file = keeping.fingerprint(file)
        destination, now_ms = destination_of(file, print_of_file)
        stretches = judge(table, mapping, rules.codec, keeping.seq_base(print_of_file), now_ms)
        for judged in in_time_order(stretches) if options.sort else stretches:
            report.write(judged.rejects)
            order.note(judged, now_ms)
            destination.add(judged)
            outcome.rows += judged.rows
            outcome.messages += len(judged.bodies)
            tell(file, table.done, table.total, outcome.rows)
        destination.finish()
    outcome.refused, outcome.examples = dict(report.reasons), report.examples
    outcome.report = str(path) if report.reasons else None
    outcome.sent, outcome.there = destination.sent, destination.there
    return outcome


@contextmanager
def _destinations(
    settings: Settings, mapping: Mapping, rules: FoldRules, topic: str, options: ImportOptions
) -> Iterator[DestinationOf]:
    if not topic:
        lines = Lines(options.output) if options.output is not None and not options.dry_run else Nowhere()
        began_ms = time.time_ns() // 1_000_000
        with lines:
            yield lambda _, __: (lines, began_ms)
        return
    broker, security = settings.broker.address, connections.broker_security(settings)
    keeps_ms = retention.keeps_ms(broker, security, topic) if options.event_time else None
    publisher = Publisher(broker, security, patience_s=PATIENCE_S, compression="lz4")

    def destination_of(file: Path, print_of_file: str) -> tuple[Topic, int]:
        path = options.beside(file, ".import.json")
        identity = _identity(print_of_file, settings, mapping, rules, topic, options)
        progress = None if options.again else keeping.read(path)
        if progress is not None and progress.identity != identity:
            raise SettingsError(
                f"{_otherwise(file, progress.identity, identity)}; --again sends all of its rows once more"
            )
        if progress is None:
            ends = topics.log_ranges(broker, security, [topic])
            progress = Progress(
                identity, time.time_ns() // 1_000_000, ends={at.partition: end for at, (_, end) in ends.items()}
            )
        destination = Topic(
            publisher, topic, progress, path, rate=options.rate, keeps_ms=keeps_ms, event_time=options.event_time
        )
        return destination, progress.began_ms

    yield destination_of


def _identity(
    print_of_file: str, settings: Settings, mapping: Mapping, rules: FoldRules, topic: str, options: ImportOptions
) -> dict[str, Any]:
    """Return what the messages of a file and their order follow from."""
    return {
        "file": print_of_file,
        "mapping": hashlib.sha256(mapping.model_dump_json().encode()).hexdigest(),
        "cluster": settings.site.cluster,
        "topic": topic,
        "sort": options.sort,
        "max_future_ms": rules.codec.max_future_ms,
    }


def _otherwise(file: Path, before: dict[str, Any], now: dict[str, Any]) -> str:
    """Say what is not as it was when a file was imported before."""
    changed = [key for key in now if before.get(key) != now[key]]
    return f"{file} was imported before, wholly or in part, and since then has changed: {', '.join(changed)}"


def _topic(settings: Settings, options: ImportOptions) -> str:
    """Return the full name of the topic, which is there."""
    broker, security = settings.broker.address, connections.broker_security(settings)
    names = dict(zip(settings.broker.topics, settings.source_topics, strict=True))
    name = names.get(options.topic, options.topic) or settings.source_topics[0]
    if name == settings.alert_topic:
        raise SettingsError(f"--topic {options.topic} is broker.alert_topic; choose another one")
    if name not in settings.source_topics and not options.create:
        raise SettingsError(
            f"--topic {options.topic} is none of broker.topics, so no worker would read it; add it there, or make a topic"
            " of its own with --create"
        )
    if options.create:
        topics.create_topics(broker, security, [name], settings.broker.partitions, properties=FOR_EVER)
    topics.require(broker, security, [name])
    return name

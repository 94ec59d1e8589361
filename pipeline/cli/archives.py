"""``pipeline archive`` and ``pipeline retain``: events into Parquet files, and what is old out of the database."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from pipeline import connections
from pipeline.archive import archiving
from pipeline.archive.ages import AGES, count_older, delete_older, has_older, mark
from pipeline.archive.partitions import require_owner
from pipeline.archive.place import Place
from pipeline.archive.retention import Retention, Verdict
from pipeline.archive.writing import alone
from pipeline.cli.bars import bars
from pipeline.cli.interrupts import end_on_signals
from pipeline.cli.terminal import Json, print_json, print_table
from pipeline.core.errors import SettingsError
from pipeline.settings import Settings, load
from pipeline.store.connect import Connection, connect
from pipeline.store.migrate import require_schema


def archive(
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare every partition with the archive, not only those soon too old.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Then read every file again and check it.")] = False,
    json: Json = False,
) -> None:
    """Write events that are not archived yet to Parquet files. Exit code 1 if a file that is there is found damaged."""
    settings = load()
    place = _place(settings)
    end_on_signals()
    days = settings.retention.event_days
    with ExitStack() as stack:
        guard, reading = (
            stack.enter_context(connections.database(settings, "pipeline archive", autocommit=True)) for _ in range(2)
        )
        require_schema(guard)
        show = stack.enter_context(bars())
        done = archiving.archive(
            guard,
            reading,
            place,
            due_days=max(days - 1, 0) if days else None,
            compare_all=compare,
            told=partial(show, "archive"),
        )
    summary: dict[str, object] = asdict(done)
    wrong = list(done.damaged)
    if verify:
        with bars() as show:
            summary["verified"], found = archiving.verify(place, partial(show, "verify"))
        wrong = list(dict.fromkeys([*wrong, *found]))
    summary["damaged"] = wrong
    if json:
        print_json({"address": place.address, **summary})
    else:
        _tell(done, place)
        sys.stdout.writelines(f"damaged: {line}\n" for line in wrong)
        if verify:
            sys.stdout.write(f"verified {summary['verified']:,} files, {len(wrong):,} damaged\n")
    raise typer.Exit(1 if wrong else 0)


def retain(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; say what would go, and what not.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read the archive's files again before.")] = False,
    without_archive: Annotated[
        bool, typer.Option("--without-archive", help="Drop events that nobody has archived.")
    ] = False,
    json: Json = False,
) -> None:
    """Drop what is older than the settings say, events once they are archived. Exit code 1 if something has to stay."""
    settings = load()
    days = settings.retention.event_days
    if days and not settings.archive.address and not without_archive:
        raise SettingsError(
            "archive.address is empty, so no event may be dropped: name an archive, set retention.event_days = 0 to keep"
            " all, or say --without-archive to drop events for good"
        )
    place = None if without_archive or not days else _place(settings)
    end_on_signals()
    with ExitStack() as stack:
        guard, reading = (stack.enter_context(_owner(settings)) for _ in range(2))
        require_schema(guard)
        require_owner(guard)
        stack.enter_context(alone(guard))
        # First what needs no archive: that may be damaged or away
        by_age = list(_by_age(settings, guard, dry_run=dry_run))
        verdicts: list[Verdict] = []
        if days:
            retention = Retention(guard, reading, place, thorough=verify)
            verdicts.extend(retention.apply(_days_ago(guard, days, whole=True), dry_run=dry_run))
        verdicts.extend(by_age)
    if json:
        print_json([asdict(each) for each in verdicts])
    else:
        gone = "would go" if dry_run else "gone"
        rows = [(each.what, each.rows, gone if each.dropped else "stays", each.reason) for each in verdicts]
        print_table(["what", "rows", "", "why"], rows, prose=True)
    raise typer.Exit(0 if all(each.dropped for each in verdicts) else 1)


def _by_age(settings: Settings, connection: Connection, *, dry_run: bool) -> Iterator[Verdict]:
    for table, (column, setting) in AGES.items():
        days = getattr(settings.retention, setting)
        if days:
            before = _days_ago(connection, days, whole=False)
            count = 0
            if dry_run:
                count = count_older(connection, table, column, before)
            elif has_older(connection, table, column, before):
                mark(connection, table, before, for_good=True)
                count = delete_older(connection, table, column, before)
            yield Verdict(table, count, dropped=True)


def _days_ago(connection: Connection, days: int, *, whole: bool) -> dt.datetime:
    """Return the beginning of a day, or an instant, by the database's clock."""
    now = "date_trunc('day', now())" if whole else "now()"
    row = connection.execute(f"SELECT {now} - make_interval(days => %s)", [days]).fetchone()
    assert row is not None  # noqa: S101  # without FROM there is always a row
    at: dt.datetime = row[0]
    return at


def _place(settings: Settings) -> Place:
    if not settings.archive.address:
        raise SettingsError("archive.address is empty: name a folder, or s3://bucket/folder, abfs://container/folder")
    return Place(settings.archive.address)


def _owner(settings: Settings) -> Connection:
    postgres = settings.postgres
    return connect(
        settings.admin_dsn,
        autocommit=True,
        application_name="pipeline retain",
        connect_timeout_s=postgres.connect_timeout_s,
        lock_timeout_s=postgres.lock_timeout_s,
    )


def _tell(done: archiving.Archived, place: Place) -> None:
    what = f"{done.rows:,} events in {done.files:,} files, {done.bytes / 1e6:,.1f} MB"
    more = f", {done.remainder_rows:,} of them past their offsets" if done.remainder_rows else ""
    sys.stdout.write(f"archived {what}{more}; {place.address}\n")
    if done.cleaned:
        sys.stdout.write(f"deleted {done.cleaned:,} file(s) that a killed run had left\n")

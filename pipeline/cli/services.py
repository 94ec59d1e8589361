"""Commands that prepare services: the database's schema, the broker's topics."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipeline import connections
from pipeline.broker import topics as broker_topics
from pipeline.cli.terminal import Json, print_json, print_table
from pipeline.settings import load
from pipeline.store.connect import address, connect
from pipeline.store.migrate import migrate as apply
from pipeline.store.migrate import pending


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if migrations are missing.")
    ] = False,
    json: Json = False,
) -> None:
    """Bring the database's schema up to date. May run any number of times, and in several places at once."""
    settings = load()
    dsn = settings.admin_dsn
    if check:
        with connect(dsn, autocommit=True, application_name="pipeline migrate") as connection:
            names = pending(connection)
    else:
        names = apply(dsn)
    if json:
        print_json({"database": address(dsn), "missing" if check else "applied": names})
    else:
        state = "missing" if check else "applied"
        sys.stdout.write("".join(f"{state}: {name}\n" for name in names) or f"{address(dsn)} has every migration\n")
    raise typer.Exit(1 if check and names else 0)


def topics(
    create: Annotated[bool, typer.Option("--create", help="Make the topics that are missing.")] = False,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions of a new topic; default: the setting.")
    ] = None,
    replication: Annotated[int, typer.Option(min=1, help="Replicas of a new topic.")] = 1,
    factory: Annotated[str | None, typer.Option(help="This factory's topics.")] = None,
    json: Json = False,
) -> None:
    """Show the topics, or make missing ones. Event Hubs lets no client make them: do it in Azure."""
    settings = load(factory)
    broker, security = settings.broker.address, connections.broker_security(settings)
    if create:
        broker_topics.create_topics(
            broker, security, settings.all_topics, partitions or settings.broker.partitions, replication
        )
    ranges = broker_topics.log_ranges(broker, security, settings.all_topics)
    rows = [
        {"topic": source.topic, "partition": source.partition, "start": start, "end": end}
        for source, (start, end) in sorted(ranges.items())
    ]
    if json:
        print_json(rows)
    else:
        columns = ["topic", "partition", "log start", "log end"]
        print_table(columns, [list(row.values()) for row in rows], keys=2)

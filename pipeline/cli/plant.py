"""``pipeline simulate``: a simulated plant against the broker."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from pipeline import connections, logs
from pipeline.broker import topics
from pipeline.cli.terminal import Json, print_json
from pipeline.core.errors import SettingsError
from pipeline.settings import load
from simulator import drive
from simulator.ledger import Ledger
from simulator.options import Drive, PlantOptions
from simulator.publisher import Publisher

KEYS = [field.name for field in fields(PlantOptions) if field.name not in {"machines", "rate", "messages", "drive"}]

_LISTS = ("factories", "fault_kinds")


def simulate(
    ledger: Annotated[Path, typer.Option(help="CSV file that notes what was sent, with the truth.")] = Path(
        "ledger.csv"
    ),
    machines: Annotated[int, typer.Option(help="Machines, 5 sensors each.")] = 1_000,
    rate: Annotated[float, typer.Option(help="Messages per second; 0: every machine once per interval_ms.")] = 0.0,
    messages: Annotated[int, typer.Option(help="Stop after so many messages; 0: never.")] = 0,
    duration: Annotated[float, typer.Option("--for", help="Stop after so many seconds; 0: never.")] = 0.0,
    backfill: Annotated[
        bool, typer.Option("--backfill", help="As fast as possible from start_ms on, not in real time.")
    ] = False,
    plant: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help=f"More about the plant, any number of times. Keys: {', '.join(KEYS)}."),
    ] = None,
    topic: Annotated[
        str, typer.Option(help="Topic; default: the first of the settings. {factory} and {type} are replaced.")
    ] = "",
    codec: Annotated[str, typer.Option(help="Compression: none, gzip, snappy, lz4 or zstd.")] = "lz4",
    patience: Annotated[
        float, typer.Option(min=1, help="How long a record may wait for the broker before the plant gives up, s.")
    ] = 30.0,
    json: Json = False,
) -> None:
    """Run a simulated plant against the broker. For example with --plant late_share=0.01 --plant garbage_share=0.001."""
    how = Drive.BACKFILL if backfill else Drive.REAL_TIME
    options = plant_options(plant or (), machines=machines, rate=rate, messages=messages, drive=how)
    result = _send(options, ledger, topic, codec, duration, patience)
    if json:
        print_json(asdict(result))
    else:
        sent = f"{result.records:,} records with {result.messages:,} messages"
        sys.stdout.write(f"sent {sent} in {result.elapsed_ms / 1000:.1f} s; {ledger}\n")


def plant_options(pairs: Sequence[str], **given: Any) -> PlantOptions:
    """Return the options of a plant.

    Parameters
    ----------
    pairs
        ``key=value`` each; factories and kinds of faults are separated by commas.

    Raises
    ------
    SettingsError
        If a key is unknown or a value is wrong; the text names the key.
    """
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key not in KEYS:
            raise SettingsError(f"--plant {pair}: write KEY=VALUE with one of {', '.join(KEYS)}")
        given[key] = tuple(value.split(",")) if key in _LISTS else value
    try:
        return TypeAdapter(PlantOptions).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"--plant {first['loc'][0]}: {first['msg'].lower()}") from None


def _send(
    options: PlantOptions, ledger: Path, topic: str, codec: str, duration: float, patience: float
) -> drive.SimulationResult:
    settings = load()
    logs.configure(settings.log.level, settings.log.format)
    name, security = topic or settings.source_topics[0], connections.broker_security(settings)
    publisher = Publisher(
        settings.broker.address, name, codec=codec, delivery_timeout_s=patience, security=security.for_librdkafka()
    )
    # The client would wait for a topic that is missing, and say only that time ran out
    topics.require(settings.broker.address, security, _topics(name, options))
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    clock = drive.SystemClock()
    ends_ms = clock.now_ms() + duration * 1000 if duration else float("inf")
    with _open(ledger) as notes:
        return drive.simulate(
            options, publisher, notes, clock=clock, stop=lambda: stopped.is_set() or clock.now_ms() >= ends_ms
        )


def _topics(name: str, options: PlantOptions) -> list[str]:
    """Return the topics that a plant sends to."""
    sends = {
        "pump": options.pump_share,
        "quality": options.quality_interval_ms,
        "maintenance": options.maintenance_interval_ms or options.wear_machines,
    }
    types = ["machine", *(each for each, wanted in sends.items() if wanted)]
    return sorted(
        {name.replace("{factory}", each).replace("{type}", kind) for each in options.factories for kind in types}
    )


def _open(path: Path) -> Ledger:
    try:
        return Ledger(path)
    except OSError as error:
        raise SettingsError(f"--ledger {path} cannot be written: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"--ledger: {error}") from error

"""Commands that run something: a worker, a plant, the demo."""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from agents import worker as agent
from pipeline import connections, logs, startup
from pipeline import demo as demonstration
from pipeline.cli.terminal import Json, print_json
from pipeline.settings import load
from simulator import drive
from simulator.ledger import Ledger
from simulator.options import FACTORIES, Drive, PlantOptions
from simulator.publisher import Publisher

Share = Annotated[float, typer.Option(min=0.0, max=1.0)]


def worker(
    factory: Annotated[str | None, typer.Option(help="Serve this factory's topics only.")] = None,
    name: Annotated[str | None, typer.Option(help="Name for rows and logs; default: host and pid.")] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="How long to wait for broker and database at the start, s.")
    ] = 60.0,
) -> None:
    """Run a worker until it is told to stop (TERM or Ctrl-C): it stores what it has, keeps its state and leaves."""
    settings = load(factory)
    logs.configure(settings.log.level, settings.log.format)
    startup.wait_for_services(settings, wait)
    agent.run(settings, name)


def simulate(
    ledger: Annotated[Path, typer.Option(help="CSV file that notes what was sent, with the truth.")] = Path(
        "ledger.csv"
    ),
    machines: Annotated[int, typer.Option(help="Machines, 5 sensors each.")] = 1_000,
    rate: Annotated[
        float, typer.Option(help="Messages per second in real time; 0: every machine once per interval.")
    ] = 0.0,
    interval_s: Annotated[float, typer.Option(help="Event time between two messages of a machine, s.")] = 5.0,
    messages: Annotated[int, typer.Option(help="Stop after so many messages; 0: never.")] = 0,
    duration: Annotated[float, typer.Option("--for", help="Stop after so many seconds; 0: never.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    backfill: Annotated[bool, typer.Option(help="As fast as possible, along the schedule.")] = False,
    start_ms: Annotated[
        int, typer.Option(help="First event time of a backfill, ms since the epoch.")
    ] = 1_735_689_600_000,
    factories: Annotated[str, typer.Option(help="Factory ids, separated by commas.")] = ",".join(FACTORIES),
    duplicates: Share = 0.0,
    late: Share = 0.0,
    late_max_s: Annotated[float, typer.Option(help="Longest delay of a late message, s.")] = 180.0,
    out_of_order: Share = 0.0,
    offline: Share = 0.0,
    offline_s: Annotated[float, typer.Option(help="Length of an outage, s; then everything comes at once.")] = 120.0,
    reboots: Share = 0.0,
    garbage: Share = 0.0,
    arrays: Share = 0.0,
    lab: Share = 0.0,
    anomalies: Annotated[float, typer.Option(min=0, max=1, help="Share of spiked or dipped readings.")] = 0.06,
    device_headers: Annotated[bool, typer.Option(help="Send the header with the device id, as IoT Hub does.")] = False,
    topic: Annotated[str, typer.Option(help="Topic; default: the first of the settings. {factory} is replaced.")] = "",
    codec: Annotated[str, typer.Option(help="Compression: none, gzip, snappy, lz4 or zstd.")] = "lz4",
    json: Json = False,
) -> None:
    """Run a simulated plant against the broker; the options that are shares say how badly its devices behave."""
    options = PlantOptions(
        seed=seed, machines=machines, factories=tuple(factories.split(",")), interval_ms=interval_s * 1000,
        start_ms=start_ms, messages=messages, drive=Drive.BACKFILL if backfill else Drive.REAL_TIME, rate=rate,
        spike_share=anomalies / 2, dip_share=anomalies / 2, duplicate_share=duplicates, late_share=late,
        late_max_ms=round(late_max_s * 1000), out_of_order_share=out_of_order, offline_share=offline,
        offline_ms=round(offline_s * 1000), reboot_share=reboots, garbage_share=garbage, array_share=arrays,
        lab_share=lab, device_headers=device_headers,
    )  # fmt: skip
    result = _send(options, ledger, topic, codec, duration)
    print_json(asdict(result)) if json else sys.stdout.write(
        f"sent {result.records:,} records with {result.messages:,} messages in {result.elapsed_ms / 1000:.1f} s; {ledger}\n"
    )


def _send(options: PlantOptions, ledger: Path, topic: str, codec: str, duration: float) -> drive.SimulationResult:
    settings = load()
    logs.configure(settings.log.level, settings.log.format)
    publisher = Publisher(
        settings.broker.address,
        topic or settings.source_topics[0],
        codec=codec,
        security=connections.broker_security(settings).for_librdkafka(),
    )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    clock = drive.SystemClock()
    ends_ms = clock.now_ms() + duration * 1000 if duration else None
    with Ledger(ledger) as notes:
        return drive.simulate(
            options,
            publisher,
            notes,
            clock=clock,
            stop=lambda: stopped.is_set() or (ends_ms is not None and clock.now_ms() >= ends_ms),
        )


def demo(
    duration: Annotated[float, typer.Option("--for", help="End after so many seconds; 0: on Ctrl-C.")] = 0.0,
    machines: Annotated[int, typer.Option(min=1, help="Machines, 5 sensors each.")] = 500,
    rate: Annotated[float, typer.Option(min=1, help="Messages per second.")] = 2_000.0,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 2,
    folder: Annotated[Path, typer.Option(help="Where embedded services keep their files.")] = Path(".embedded"),
) -> None:
    """Run everything: broker, database, migrations, topics, workers and a plant that misbehaves; then verify it."""
    logs.configure("warning", "console")
    report = demonstration.run(demonstration.DemoOptions(duration, machines, rate, workers, folder))
    print_json(report.summary)
    raise typer.Exit(0 if report.holds else 1)

"""Commands that run the pipeline: a worker, the demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agents import worker as agent
from pipeline import logs, startup
from pipeline.cli.interrupts import exit_on_signals
from pipeline.cli.plant import plant_options
from pipeline.cli.terminal import print_json
from pipeline.demo import run as demonstration
from pipeline.settings import load
from pipeline.verifying.report import complaints


def worker(
    factory: Annotated[str | None, typer.Option(help="Serve this factory's topics only.")] = None,
    name: Annotated[str | None, typer.Option(help="Name for rows and logs; default: host and pid.")] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="How long to wait for broker and database at the start, s.")
    ] = 60.0,
) -> None:
    """Run a worker until it is told to stop. On TERM or Ctrl-C it stores what it has, keeps its state and leaves."""
    # Until the worker itself listens, being told to stop ends the waiting; a shell's background job ignores Ctrl-C else
    exit_on_signals()
    settings = load(factory)
    logs.configure(settings.log.level, settings.log.format)
    startup.wait_for_services(settings, wait)
    agent.run(settings, name)


def demo(
    duration: Annotated[float, typer.Option("--for", help="End after so many seconds; 0: on Ctrl-C.")] = 0.0,
    machines: Annotated[int, typer.Option(min=1, help="Machines, 5 sensors each.")] = 500,
    rate: Annotated[float, typer.Option(min=1, help="Messages per second.")] = 2_000.0,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 2,
    folder: Annotated[Path, typer.Option(help="Where embedded services keep their files.")] = Path(".embedded"),
    plant: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="More about the plant, as `pipeline simulate --plant` takes it."),
    ] = None,
) -> None:
    """Run everything at once, then verify it. Broker, database, migrations, topics, workers, a misbehaving plant."""
    logs.configure("warning", "console")
    # What is wrong with them is said before anything starts
    plant_options(plant or (), machines=machines, rate=rate)
    report = demonstration.run(demonstration.DemoOptions(duration, machines, rate, workers, folder, tuple(plant or ())))
    sys.stderr.writelines(f"does not hold: {each}\n" for each in complaints(report.summary))
    print_json(report.summary)
    raise typer.Exit(0 if report.holds else 1)

"""Files of history: rows a second, judged alone and into a topic, from CSV and from Parquet."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from benchmarks import report
from benchmarks.services import PARTITIONS, Services

MACHINES = 1_000
SENSORS = ("temperature", "pressure", "electricity", "ambient_temperature", "humidity")
_MAPPING = """
factory_id = "aurora"
machine_id = { column = "machine" }
machine_type = "stamping_press"
[time]
column = "time"
[readings]
""" + "\n".join(f'{name} = "{name}"' for name in SENSORS)


@dataclass(frozen=True, slots=True)
class Speed:
    """One import.

    Parameters
    ----------
    rows_per_s
        From the start of the process to its end.
    cpu_us
        Of the process, per row.
    peak_mb
        Its resident set at most.
    """

    what: str
    rows: int
    rows_per_s: float
    cpu_us: float
    peak_mb: float


def run(services: Services, *, rows: int) -> dict[str, Any]:
    """Import the same rows in every way; return the figures."""
    folder = services.folder / "import"
    folder.mkdir(exist_ok=True)
    (folder / "map.toml").write_text(_MAPPING)
    files = write(folder, rows)
    found = []
    for file in files:
        found.append(measure(services, f"{file.suffix[1:]}, judged", file, rows, "--dry-run"))
        found.append(measure(services, f"{file.suffix[1:]}, into a topic of {PARTITIONS}", file, rows))
    names = ("import", "rows", "rows/s", "µs CPU", "peak MB")
    report.show("", names, [tuple(asdict(each).values()) for each in found])
    return {"runs": found}


def write(folder: Path, rows: int) -> list[Path]:
    """Write the same table as CSV and as Parquet."""
    chance = np.random.default_rng(1)
    numbers = np.arange(rows)
    times_ms = time.time_ns() // 1_000_000 - 86_400_000 + numbers * 80_000_000 // rows
    columns: dict[str, Any] = {
        "machine": [f"press-{number % MACHINES:05}" for number in range(rows)],
        "time": np.datetime_as_string(times_ms.astype("datetime64[ms]"), timezone="UTC"),
    }
    columns |= {name: np.round(chance.normal(50, 3, rows), 3) for name in SENSORS}
    table = pa.table(columns)
    pc.write_csv(table, folder / "history.csv")
    pq.write_table(table, folder / "history.parquet")
    return [folder / "history.csv", folder / "history.parquet"]


def measure(services: Services, what: str, file: Path, rows: int, *more: str) -> Speed:
    """Import a file in a process of its own; an import that does not take every row is an error."""
    settings = {"PIPELINE_BROKER__ADDRESS": services.address}
    if not more:
        settings["PIPELINE_BROKER__TOPICS"] = f'["{services.topic()}"]'
    command = [sys.executable, "-m", "pipeline", "import", str(file), f"--mapping={file.parent / 'map.toml'}", "--json"]
    began_s = time.perf_counter()
    process = subprocess.Popen([*command, "--again", *more], env=os.environ | settings, stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = process.stdout.read()
    # Asked of this very process, whatever others have used
    _, status, used = os.wait4(process.pid, 0)
    took_s = time.perf_counter() - began_s
    outcome = orjson.loads(said)["files"][0]
    if status or outcome["messages"] != rows or (not more and outcome["sent"] != rows):
        raise RuntimeError(f"{what}: not every row was taken: {outcome}")
    cpu_us = (used.ru_utime + used.ru_stime) * 1e6 / rows
    return Speed(what, rows, rows / took_s, cpu_us, used.ru_maxrss * 1024 / 1e6)

"""Everything a run needs: broker, database, proxies before both, and a site with workers and a plant."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from pipeline.broker import topics
from pipeline.broker.embedded import EmbeddedBroker
from pipeline.broker.security import BrokerSecurity
from pipeline.processes import free_ports
from pipeline.store.embedded import EmbeddedPostgres
from pipeline.store.migrate import migrate
from tests.chaos.disk import Disk, can_mount
from tests.chaos.proxy import Proxy
from tests.forks import Forks
from tests.system.processes import PIPELINE, Process, Site

MAIN, SIDE = "telemetry.chaos", "telemetry.side"
LOGIN = "chaos_worker"

# A power cut is not among the faults: what processes wrote is there after their death also without fsync
_SERVER = {"fsync": "off", "max_wal_size": "2GB", "shared_buffers": "256MB"}


class Stand:
    """The services of one run.

    Workers reach broker and database through proxies; the plant and the driver do not.

    Parameters
    ----------
    folder
        Empty; holds what is kept of the run.
    partitions
        Of the main topic.
    disk_gb
        Size of the database's own file system, where one can be made.
    """

    def __init__(self, folder: Path, partitions: int, disk_gb: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.disk = Disk(disk_gb) if can_mount() else None
        client, direct, controller, database = free_ports(4)
        self.broker_proxy = Proxy(client).start()
        self.broker = EmbeddedBroker(
            folder / "kafka", port=client, settings=two_doors(client, direct, controller, self.broker_proxy.port)
        )
        self.direct = f"127.0.0.1:{direct}"
        self.postgres = EmbeddedPostgres(
            (self.disk.folder if self.disk else folder) / "postgres", port=database, settings=_SERVER
        )
        self._commands = Forks("tests.system.commands:prepare")
        self._partitions = partitions
        self._made_database_proxy = False

    def start(self, settings: dict[str, object]) -> None:
        """Start the services; make schema, login and topics."""
        self.broker.start()
        self.postgres.start()
        self.dsn = self.postgres.dsn
        migrate(self.dsn)
        with self.connect() as connection:
            connection.execute(f"CREATE ROLE {LOGIN} LOGIN PASSWORD '{LOGIN}' IN ROLE pipeline_worker")
        port = int(self.postgres.dsn.rsplit(":", 1)[1].split("/")[0])
        self.database_proxy = Proxy(port).start()
        self._made_database_proxy = True
        topics.create_topics(self.direct, BrokerSecurity(), [MAIN], self._partitions)
        topics.create_topics(self.direct, BrokerSecurity(), [SIDE], 2)
        workers_dsn = make_conninfo(
            self.dsn, user=LOGIN, password=LOGIN, host="127.0.0.1", port=self.database_proxy.port
        )
        broker = f"127.0.0.1:{self.broker_proxy.port}"
        self.site = Site(self.folder, broker, workers_dsn, [MAIN, SIDE], settings, self._commands)
        self.plants = Site(self.folder, self.direct, workers_dsn, [MAIN], commands=self._commands)

    def end(self) -> None:
        """End everything."""
        for site in ("site", "plants"):
            if hasattr(self, site):
                getattr(self, site).end()
        self._commands.close()
        self.broker_proxy.stop()
        if self._made_database_proxy:
            self.database_proxy.stop()
        self.broker.remove()
        self.postgres.remove()
        if self.disk is not None:
            self.disk.remove()

    @contextlib.contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """Open a connection of the owner's past the proxy."""
        with psycopg.connect(
            self.dsn, autocommit=True, options="-c search_path=telemetry", connect_timeout=2
        ) as connection:
            yield connection

    def ends(self, topic: str = MAIN) -> dict[tuple[str, int], int]:
        """Return where the logs of a topic end."""
        found = topics.log_ranges(self.direct, BrokerSecurity(), [topic])
        return {(source.topic, source.partition): end for source, (_, end) in found.items()}

    def marks(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Return effects and windows marks."""
        with self.connect() as connection:
            rows = connection.execute("SELECT topic, partition, effects_next, windows_next FROM source_progress")
            return {(topic, partition): (effects, windows) for topic, partition, effects, windows in rows}

    def behind(self, *names: str) -> int:
        """Return how many records of topics are not stored and merged."""
        marks = self.marks()
        ends = {source: end for name in names for source, end in self.ends(name).items()}
        return sum(max(0, end - min(marks.get(source, (0, 0)))) for source, end in ends.items())

    # -- services ----------------------------------------------------------------------------------------------------

    def stop_database(self, number: signal.Signals) -> None:
        """End the server: SIGQUIT is an immediate stop, SIGKILL what it says."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.postgres.pid, number)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{self.postgres.pid}").exists() and time.monotonic() < deadline:
            if _is_zombie(self.postgres.pid):
                break
            time.sleep(0.05)
        self.postgres.kill()

    def database_answers(self) -> bool:
        """Return whether the server takes connections."""
        try:
            with self.connect():
                return True
        except psycopg.Error:
            return False


def plant(stand: Stand, ledger: Path, rate: float, machines: int, seed: int) -> Process:
    """Start a plant that misbehaves and sends until it is told to stop."""
    return stand.plants.start(
        "plant", "simulate", f"--ledger={ledger}", f"--rate={rate}", f"--machines={machines}", f"--topic={MAIN}",
        "--patience=600",
        f"--plant=seed={seed}", "--plant=spike_share=0.01", "--plant=dip_share=0.01", "--plant=duplicate_share=0.01",
        "--plant=late_share=0.01", "--plant=late_max_ms=20000", "--plant=lab_share=0.05", "--plant=garbage_share=0.002",
        "--plant=out_of_order_share=0.01", "--plant=array_share=0.02", "--plant=offline_share=0.0002",
        "--plant=offline_ms=4000", "--plant=reboot_share=0.0005",
        program=PIPELINE,
    )  # fmt: skip


def two_doors(client: int, direct: int, controller: int, proxy: int) -> dict[str, str]:
    """Return the broker's settings for a listener that sends its clients to the proxy, and one that does not."""
    return {
        "listeners": f"CLIENT://127.0.0.1:{client},DIRECT://127.0.0.1:{direct},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{proxy},DIRECT://127.0.0.1:{direct}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "inter.broker.listener.name": "DIRECT",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True

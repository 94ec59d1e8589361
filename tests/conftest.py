"""Fixtures that give tests a real broker and a real database.

By default both are embedded and started when the first test asks for them. ``--broker`` and ``--postgres-dsn`` name
services of your own instead. A service that is not there skips its tests and says why; with ``REQUIRE_SERVICES=1`` it
fails them.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from hypothesis import HealthCheck, settings
from psycopg.conninfo import make_conninfo
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from pipeline.broker import topics
from pipeline.broker.embedded import EmbeddedBroker, SaslSsl
from pipeline.broker.security import BrokerSecurity
from pipeline.core.errors import PipelineError
from pipeline.store.connect import Connection, connect
from pipeline.store.embedded import EmbeddedPostgres
from pipeline.store.migrate import migrate
from tests.absent import absent
from tests.forks import Forks
from tests.memory import room
from tests.system.processes import Site, sites
from tests.together import MODULES

# Property tests are judged by what they find, not by how long a shared machine takes
settings.register_profile("pipeline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pipeline")

# A broker lives for minutes here: what the thorough compiler spends on it never comes back
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

LOGINS = {"worker_test": "pipeline_worker", "dashboard_test": "pipeline_dashboard"}


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database of the test's own, by three logins.

    ``dsn`` is a worker's, ``admin_dsn`` the owner's, ``dashboard_dsn`` a dashboard's.
    """

    name: str
    dsn: str
    admin_dsn: str
    dashboard_dsn: str


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("services")
    group.addoption("--broker", default="", help="host:port of a broker for the tests; default: an embedded one")
    group.addoption("--postgres-dsn", default="", help="a superuser's connection string; default: an embedded server")
    group.addoption("--database-template", default="", help="a migrated database there to copy; default: a new one")
    group = parser.getgroup("simulation")
    group.addoption("--seeds", type=int, default=400, help="how many seeds of the protocol are simulated")
    group.addoption("--seed", type=int, help="simulate this seed alone")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with those that may take long, or one process would be left with one of them at the end."""

    def allowed_s(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return float(marker.args[0]) if marker is not None else 0.0

    items.sort(key=allowed_s, reverse=True)


class _Scheduling(LoadScopeScheduling):
    """Gives the processes one test at a time, but all tests of :data:`tests.together.MODULES` to one."""

    def _split_scope(self, nodeid: str) -> str:
        module, _, _ = nodeid.partition("::")
        return module if module in MODULES else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Scheduling:
    return _Scheduling(config, log)


@pytest.fixture(scope="session")
def broker_address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of the session's broker."""
    given = request.config.getoption("--broker")
    if given:
        try:
            topics.check_reachable(given, BrokerSecurity())
        except PipelineError as error:
            absent(error)
        yield given
        return
    with room(tmp_path_factory.mktemp("kafka")) as folder:
        broker = EmbeddedBroker(folder / "kafka")
        try:
            broker.start()
        except PipelineError as error:
            absent(error)
        yield broker.address
        broker.remove()


@pytest.fixture(scope="session")
def postgres_dsn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A superuser's connection string to the session's database server."""
    given = request.config.getoption("--postgres-dsn")
    if given:
        try:
            psycopg.connect(given, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            absent(error)
        yield given
        return
    with room(tmp_path_factory.mktemp("postgres")) as folder:
        server = EmbeddedPostgres(folder / "postgres", settings={"fsync": "off"})
        try:
            server.start()
        except PipelineError as error:
            absent(error)
        yield server.dsn
        server.remove()


@pytest.fixture(scope="session")
def topic(broker_address: str) -> Callable[..., str]:
    """Return a function that makes a topic with a name of its own."""

    def make(partitions: int = 2, prefix: str = "t") -> str:
        name = f"{prefix}-{uuid.uuid4().hex[:12]}"
        topics.create_topics(broker_address, BrokerSecurity(), [name], partitions)
        return name

    return make


@pytest.fixture(scope="session")
def template(request: pytest.FixtureRequest, postgres_dsn: str) -> Iterator[str]:
    """The name of a migrated database, to be copied; the logins of :data:`LOGINS` exist."""
    if given := request.config.getoption("--database-template"):
        yield given
        return
    name = f"pipeline_template_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        migrate(make_conninfo(postgres_dsn, dbname=name))
        for login, role in LOGINS.items():
            if admin.execute("SELECT to_regrole(%s)", [login]).fetchone() == (None,):
                admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{login}'")
            admin.execute(f"GRANT {role} TO {login}")
    yield name
    _drop(postgres_dsn, name)


@pytest.fixture(scope="session")
def new_database(postgres_dsn: str, template: str) -> Callable[[], AbstractContextManager[Database]]:
    """Return a function that makes a migrated, empty database for as long as a ``with`` lasts."""

    @contextmanager
    def make() -> Iterator[Database]:
        name = f"pipeline_test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(postgres_dsn, autocommit=True) as admin:
            # Logged, each of its blocks would be written twice
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        worker, dashboard = (make_conninfo(postgres_dsn, dbname=name, user=login, password=login) for login in LOGINS)
        try:
            yield Database(name, worker, make_conninfo(postgres_dsn, dbname=name), dashboard)
        finally:
            _drop(postgres_dsn, name)

    return make


@pytest.fixture
def database(new_database: Callable[[], AbstractContextManager[Database]]) -> Iterator[Database]:
    """A migrated, empty database of the test's own."""
    with new_database() as made:
        yield made


@pytest.fixture
def admin(database: Database) -> Iterator[Connection]:
    """The owner's connection to the test's database."""
    with connect(database.admin_dsn, autocommit=True) as opened:
        yield opened


@pytest.fixture
def dashboard(database: Database) -> Iterator[Connection]:
    """A dashboard's connection to the test's database."""
    with connect(database.dashboard_dsn, autocommit=True) as opened:
        yield opened


@pytest.fixture
def empty_database(postgres_dsn: str) -> Iterator[str]:
    """The owner's connection string to a database with nothing in it."""
    name = f"pipeline_empty_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    yield make_conninfo(postgres_dsn, dbname=name)
    _drop(postgres_dsn, name)


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Callable[..., EmbeddedBroker]]:
    """Return a function that starts a broker for this test alone, to be killed and started again."""
    made: list[EmbeddedBroker] = []

    def start(sasl_ssl: SaslSsl | None = None, **properties: str) -> EmbeddedBroker:
        named = {name.replace("_", "."): value for name, value in properties.items()}
        made.append(EmbeddedBroker(folder / f"kafka-{len(made)}", sasl_ssl=sasl_ssl, settings=named))
        try:
            return made[-1].start()
        except PipelineError as error:
            absent(error)

    with room(tmp_path) as folder:
        yield start
        for each in made:
            each.remove()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Return a function that starts a database server for this test alone, to be killed and started again."""
    made: list[EmbeddedPostgres] = []

    def start(**parameters: str) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(folder / f"postgres-{len(made)}", settings=parameters))
        try:
            return made[-1].start()
        except PipelineError as error:
            absent(error)

    with room(tmp_path) as folder:
        yield start
        for each in made:
            each.remove()


@pytest.fixture
def site(
    tmp_path: Path, broker_address: str, database: Database, topic: Callable[..., str], commands: Forks
) -> Iterator[Callable[..., Site]]:
    """Return a function that makes a site with topics of its own; its processes end with the test."""
    with sites(tmp_path, broker_address, database.dsn, topic, commands) as make:
        yield make


@pytest.fixture(scope="module")
def lasting_site(
    tmp_path_factory: pytest.TempPathFactory,
    broker_address: str,
    new_database: Callable[[], AbstractContextManager[Database]],
    topic: Callable[..., str],
    commands: Forks,
) -> Iterator[tuple[Callable[..., Site], Database]]:
    """Return a function that makes a site whose processes end with the module, and its database.

    The module belongs to :data:`tests.together.MODULES`, and its tests do not change what they share.
    """
    folder = tmp_path_factory.mktemp("site")
    with new_database() as made, sites(folder, broker_address, made.dsn, topic, commands) as make:
        yield make, made


@pytest.fixture(scope="session")
def commands() -> Iterator[Forks]:
    """A server that forks processes which have imported the command line, for tests that start and kill many of them."""
    server = Forks("tests.system.commands:prepare")
    yield server
    server.close()


@pytest.fixture
def tls(tmp_path: Path) -> SaslSsl:
    """A certificate for 127.0.0.1 and the one login."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    paths = [tmp_path / name for name in ("chain.pem", "key.pem", "authority.pem")]
    paths[0].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    authority.cert_pem.write_to_path(str(paths[2]))
    return SaslSsl(paths[0], paths[1], paths[2], "worker", "right")


def _drop(postgres_dsn: str, name: str) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

"""A real Apache Kafka as a child process: one node, KRaft mode, nothing installed."""

from __future__ import annotations

import base64
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pipeline.broker import kafka_jars, topics
from pipeline.broker.security import BrokerSecurity
from pipeline.core.errors import BrokerUnavailable, PipelineError
from pipeline.processes import Child, free_ports, is_free, wait_until

_READY_S = 180.0
_RACES = 5
_HEAP = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.awt.headless=true")
# Java's own notes about native access, which would look like trouble in the log
_QUIET = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")
_MEGABYTE_RECORDS = 1_048_588

_LOGGING = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {folder}/kafka-server.log
appender.file.filePattern = {folder}/kafka-server.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
logger.server.name = kafka.server
logger.server.level = info
logger.fatal.name = kafka.Kafka$
logger.fatal.level = error
logger.fatal.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %p %m%ex{{short.message}}%n
"""


@dataclass(frozen=True, slots=True)
class SaslSsl:
    """A listener with TLS and a login (mechanism PLAIN), in place of the open one.

    Parameters
    ----------
    certificate_file, key_file
        PEM files of the broker's certificate chain and its key (PKCS #8, not encrypted).
    ca_file
        PEM file of the authority that signed them.
    username, password
        The one login.
    """

    certificate_file: Path
    key_file: Path
    ca_file: Path
    username: str
    password: str = field(repr=False)


class EmbeddedBroker:
    """Apache Kafka on 127.0.0.1, ended with this process.

    Whatever was stored is there again at the next start over the same folder, also after a kill. The port is found at
    the first start, and kept by this object for the next ones.

    Parameters
    ----------
    data_folder
        Holds everything the broker keeps; made if it is not there.
    port
        Where to listen; ``None`` finds a free port.
    sasl_ssl
        Asks for TLS and a login.
    settings
        More lines of ``server.properties``, over ours.
    """

    def __init__(
        self,
        data_folder: Path,
        *,
        port: int | None = None,
        sasl_ssl: SaslSsl | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = data_folder.resolve()
        self._given_port = port
        self._port = port or 0
        self._sasl_ssl = sasl_ssl
        self._settings = dict(settings or {})
        self._child = Child(self._folder, "kafka", mark=str(self._properties_file), stop_signal=signal.SIGTERM)

    @property
    def address(self) -> str:
        """``host:port`` of the listener for clients; known once the broker was started."""
        if not self._port:
            raise RuntimeError("the broker has not been started")
        return f"127.0.0.1:{self._port}"

    @property
    def security(self) -> BrokerSecurity:
        """How a client connects to it."""
        tls = self._sasl_ssl
        if tls is None:
            return BrokerSecurity()
        return BrokerSecurity("SASL_SSL", "PLAIN", tls.username, tls.password, ca_file=str(tls.ca_file))

    @property
    def pid(self) -> int:
        """Process id of the broker."""
        return self._child.pid

    def start(self) -> Self:
        """Start the broker and return when it answers.

        Raises
        ------
        SettingsError
            The packages are missing, or another run uses the folder.
        BrokerUnavailable
            It does not come up; the text says what it said last.
        """
        if self._child.is_running:
            return self
        command = [str(kafka_jars.java()), *_HEAP, *_QUIET, "-cp", kafka_jars.class_path()]
        command.append(f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}")
        self._child.claim()
        try:
            self._start_on_a_free_port(command)
        except BaseException:
            self._child.kill()
            raise
        return self

    def stop(self) -> None:
        """Stop the broker in order, by force after 15 s."""
        self._child.stop()

    def kill(self) -> None:
        """End the broker as SIGKILL does."""
        self._child.kill()

    def remove(self) -> None:
        """Stop the broker and delete everything it kept."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def _properties_file(self) -> Path:
        return self._folder / "server.properties"

    def _start_on_a_free_port(self, command: list[str]) -> None:
        known = self._port
        if known and not wait_until(lambda: is_free(known), 2.0):
            raise BrokerUnavailable(f"port {known} is taken; end what listens there or choose another")
        for _ in range(_RACES):
            # The known one is free too, and the broker refuses two listeners on one port
            free = [port for port in free_ports(3) if port != known]
            self._port = known or free.pop()
            ports = {"client": self._port, "controller": free[0], "internal": free[1]}
            self._write_files(ports)
            self._format(command)
            self._child.spawn([*command, "kafka.Kafka", str(self._properties_file)])
            if wait_until(lambda: not self._child.is_running or self._answers(), _READY_S) and self._child.is_running:
                return
            if self._child.is_running or "in use" not in self._child.last_words(20):
                break
        if not known:
            self._port = 0
        raise BrokerUnavailable(
            f"the embedded broker did not start; see {self._folder / 'kafka-server.log'}: {self._child.last_words()}"
        )

    def _answers(self) -> bool:
        if is_free(self._port):
            return False
        try:
            topics.check_reachable(self.address, self.security, 2.0)
        except PipelineError:
            return False
        return True

    def _format(self, command: list[str]) -> None:
        """Prepare the folder for this node; one that was prepared keeps what it holds."""
        marker = self._folder / "cluster-id"
        if marker.exists():
            return
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # In one word, for an id may begin with a dash
        tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", f"--cluster-id={cluster_id}"]
        done = subprocess.run(  # noqa: S603  # the command is ours
            [*command, *tool, "-c", str(self._properties_file)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = " ".join(line for line in done.stderr.splitlines() if not line.startswith("\tat "))
            raise BrokerUnavailable(f"{self._folder} could not be prepared: {said[-500:]}")
        marker.write_text(cluster_id)

    def _write_files(self, ports: Mapping[str, int]) -> None:
        lines = _server_properties(self._folder / "data", ports)
        if self._sasl_ssl is not None:
            lines |= _protect(self._sasl_ssl, self._folder / "keystore.pem", ports)
        lines |= self._settings
        self._properties_file.touch(mode=0o600)
        self._properties_file.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        (self._folder / "log4j2.properties").write_text(_LOGGING.format(folder=self._folder))


def _server_properties(data: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """Return the settings of a single node that keeps everything and creates no topic unasked."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{ports['controller']}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"CLIENT://127.0.0.1:{ports['client']},CONTROLLER://127.0.0.1:{ports['controller']}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{ports['client']}",
        "inter.broker.listener.name": "CLIENT",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(_MEGABYTE_RECORDS),
        "log.retention.ms": "-1",
        "log.retention.bytes": "-1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # After a kill, the node waits until its former self counts as gone; 9 s is the default
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "3000",
    }


def _protect(tls: SaslSsl, keystore: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """Return the settings that put TLS and a login before the clients; the node talks to itself on a port of its own."""
    keystore.touch(mode=0o600)
    keystore.write_text(tls.key_file.read_text() + tls.certificate_file.read_text())
    login = f'user_{tls.username}="{tls.password}"'
    jaas = f"org.apache.kafka.common.security.plain.PlainLoginModule required {login};"
    client, internal = f"CLIENT://127.0.0.1:{ports['client']}", f"INTERNAL://127.0.0.1:{ports['internal']}"
    return {
        "listeners": f"{client},{internal},CONTROLLER://127.0.0.1:{ports['controller']}",
        "advertised.listeners": f"{client},{internal}",
        "inter.broker.listener.name": "INTERNAL",
        "listener.security.protocol.map": "CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": jaas,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
    }

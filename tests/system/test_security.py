"""R8, R57: the worker reads a broker that asks for TLS and a login, and says in one line when it may not."""

from __future__ import annotations

from pathlib import Path

from pipeline.broker import topics
from pipeline.broker.embedded import SaslSsl
from tests.forks import Forks
from tests.system.processes import Site
from tests.system.producing import message, produce


def test_a_worker_reads_over_tls_with_a_login(
    tmp_path: Path, own_broker, database, tls: SaslSsl, commands: Forks
) -> None:
    broker = own_broker(sasl_ssl=tls)
    topics.create_topics(broker.address, broker.security, ["t"], 1)
    settings = {
        "BROKER__SECURITY_PROTOCOL": "SASL_SSL",
        "BROKER__SASL_USERNAME": tls.username,
        "BROKER__SASL_PASSWORD": tls.password,
        "BROKER__CA_FILE": tls.ca_file,
    }
    at = Site(tmp_path, broker.address, database.dsn, ["t"], settings, commands)
    try:
        worker = at.worker("worker")
        some = [message(seq=n) for n in range(50)]
        produce(broker.address, "t", some, settings=broker.security.for_librdkafka())

        at.wait(lambda: at.stored() == 50)

        assert worker.stop() == 0
        refused = at.run("worker", "--wait=1", PIPELINE_BROKER__SASL_PASSWORD="wrong")
        assert refused.returncode == 78
        assert "broker.sasl_password" in refused.stderr.splitlines()[-1]
        assert not worker.said(tls.password)
    finally:
        at.end()

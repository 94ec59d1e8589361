"""R8, R57: the worker reads a broker that asks for TLS and a login, and says in one line when it may not."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from pipeline.broker import topics
from pipeline.broker.embedded import SaslSsl
from tests.system.processes import Site
from tests.system.producing import message, produce


@pytest.fixture
def tls(tmp_path: Path) -> SaslSsl:
    authority, folder = trustme.CA(), tmp_path / "tls"
    folder.mkdir()
    folder.chmod(0o755)
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "chain.pem", append=True)
    return SaslSsl(folder / "chain.pem", folder / "key.pem", folder / "ca.pem", "plant", "s3cret-word")


def test_a_worker_reads_over_tls_with_a_login(tmp_path: Path, own_broker, database, tls: SaslSsl) -> None:
    broker = own_broker(sasl_ssl=tls)
    topics.create_topics(broker.address, broker.security, ["t"], 1)
    settings = {
        "BROKER__SECURITY_PROTOCOL": "SASL_SSL",
        "BROKER__SASL_USERNAME": tls.username,
        "BROKER__SASL_PASSWORD": tls.password,
        "BROKER__CA_FILE": tls.ca_file,
    }
    at = Site(tmp_path, broker.address, database.dsn, ["t"], settings)
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

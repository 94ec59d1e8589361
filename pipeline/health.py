"""The worker's health over HTTP: ``/livez``, ``/readyz`` and ``/metrics``.

Served by threads of their own, so that answers come also when the event loop is stuck.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from pipeline.core.errors import SettingsError

log = structlog.get_logger(__name__)

REQUEST_S = 10.0
"""How long a client may take to say what it wants, s."""


class Verdict(NamedTuple):
    """The answer to one question about the worker.

    Parameters
    ----------
    holds
        Whether it is alive, or ready.
    reason
        Why, for people.
    figures
        What the verdict rests on.
    """

    holds: bool
    reason: str
    figures: Mapping[str, Any]


class HealthServer:
    """Answers on the first free port.

    Parameters
    ----------
    address
        ``host:port`` or ``host:first-last``: several workers of one host share a range.
    verdicts
        By path, for example ``/livez``; called in the server's threads.
    registry
        Of the metrics.

    Raises
    ------
    SettingsError
        If nothing can listen there.
    """

    def __init__(
        self, address: str, verdicts: Mapping[str, Callable[[], Verdict]], registry: CollectorRegistry
    ) -> None:
        answers: dict[str, Callable[[], _Answer]] = {
            "/metrics": lambda: (HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
        }
        answers |= {path: partial(_as_json, judge) for path, judge in verdicts.items()}
        self._server = _listening(address, answers)
        self.address = "{}:{}".format(*self._server.server_address[:2])

    def start(self) -> None:
        """Answer from now on."""
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


_Answer = tuple[HTTPStatus, str, bytes]


def _as_json(judge: Callable[[], Verdict]) -> _Answer:
    verdict = judge()
    body = {"ok": verdict.holds, "reason": verdict.reason, **verdict.figures}
    status = HTTPStatus.OK if verdict.holds else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "application/json", json.dumps(body).encode() + b"\n"


def _listening(address: str, answers: Mapping[str, Callable[[], _Answer]]) -> ThreadingHTTPServer:
    host, ports = endpoints(address)

    class Handler(_Handler):
        paths = answers

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

    for port in ports:
        try:
            return Server((host, port), Handler)
        except OSError as error:
            refused = error
    raise SettingsError(f"nothing can listen at {address}; correct health.address: {refused}")


def endpoints(address: str) -> tuple[str, range]:
    """Return host and ports of an address.

    Examples
    --------
    >>> endpoints("127.0.0.1:9108-9110")
    ('127.0.0.1', range(9108, 9111))
    >>> endpoints("[::1]:9108")
    ('::1', range(9108, 9109))
    """
    host, _, ports = address.rpartition(":")
    first, _, last = ports.partition("-")
    if not 0 <= int(first) <= int(last or first) < 65_536:
        raise SettingsError(f"health.address {address}: write host:port or host:first-last")
    return host.removeprefix("[").removesuffix("]"), range(int(first), int(last or first) + 1)


class _Handler(BaseHTTPRequestHandler):
    paths: Mapping[str, Callable[[], _Answer]]
    timeout = REQUEST_S
    server_version = "pipeline"
    sys_version = ""

    def do_GET(self) -> None:
        answer = self.paths.get(self.path.partition("?")[0])
        if answer is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        status, kind, body = answer()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        log.debug("health.asked", said=format % arguments)

"""The HTTP server: one process that answers until it is told to stop."""

from __future__ import annotations

import re
import socket

import structlog
import uvicorn
from starlette.types import ASGIApp

from pipeline.core.errors import SettingsError
from pipeline.web.guard import is_loopback

log = structlog.get_logger(__name__)

MOST_CONNECTIONS = 256
"""Clients that are connected at the same time, also those that ask nothing; others are told 503."""

STOPPING_S = 10
"""How long requests that have begun may take when the server is told to stop, s."""


def listen(address: str, token: str) -> socket.socket:
    """Return a socket that listens.

    Parameters
    ----------
    address
        ``host:port``; port 0: any that is free.
    token
        That requests have to carry.

    Raises
    ------
    SettingsError
        If nothing can listen there, the token is a weak one, or others could ask without any.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if token and not re.fullmatch(r"[!-~]{16,4096}", token):
        raise SettingsError(
            "web.token is too short, or has blanks: 16 or more letters, digits and signs of ASCII are needed"
        )
    if not token and not is_loopback(host):
        raise SettingsError(f"web.address {address} can be reached from other hosts: set web.token, or use 127.0.0.1")
    if int(port) >= 2**16:
        raise SettingsError(f"nothing can listen at {address}: a port of web.address is below 65536")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=128)
    except OSError as error:
        # What Python adds in brackets repeats the address
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise SettingsError(f"nothing can listen at {address}; correct web.address: {reason}") from error


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Answer until TERM or Ctrl-C; requests that have begun are answered first."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=STOPPING_S,
    )
    log.info("web.listening", address="{}:{}".format(*listening.getsockname()[:2]))
    uvicorn.Server(config).run(sockets=[listening])

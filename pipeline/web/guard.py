"""Who may ask, and how much at once: judged before a request is understood."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 2**24
"""Body of one request, bytes: some 7,000 rows of 44 features with long names."""

MOST_AT_ONCE = 8
"""Requests that are answered at the same time; each may hold a body."""

BODY_S = 30.0
"""How long a client may take to send it, s."""

OPEN = frozenset({"/livez", "/openapi.json"})
"""Paths that anybody may ask: they tell nothing of models."""


class Guard:
    """Lets requests pass that carry the token and are not too large.

    Parameters
    ----------
    app
        What answers them.
    token
        ``Authorization: Bearer`` has to carry it; empty: whoever asks from this host may.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()
        self._busy = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it pass with its whole body."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, send)
            return
        self._busy += 1
        try:
            judged = await _body(scope, receive)
            if isinstance(judged, Response):
                await judged(scope, receive, send)
            elif judged is not None:
                await self._app(scope, _replayed(judged, receive), send)
        finally:
            self._busy -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        if not self._token:
            if is_loopback(scope["client"][0] if scope.get("client") else ""):
                return self._overload()
            return refusal(403, "without web.token only this host is answered", "client")
        scheme, _, given = _header(scope, b"authorization").partition(b" ")
        # The comparison takes as long wherever the first difference is
        if secrets.compare_digest(given.strip(), self._token) and scheme.lower() == b"bearer":
            return self._overload()
        answer = refusal(401, "write the header `Authorization: Bearer` with the token of web.token", "Authorization")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    def _overload(self) -> Response | None:
        return (
            refusal(503, f"{self._busy} requests are being answered; ask again") if self._busy >= MOST_AT_ONCE else None
        )


def refusal(status: int, detail: str, where: str | None = None) -> Response:
    """Return the answer to what is refused; see :class:`pipeline.web.bodies.Refusal`."""
    # What somebody sent may be no text: half of a surrogate pair
    plain = {"detail": detail, "where": where}
    body = {name: value and value.encode("utf-8", "replace").decode() for name, value in plain.items()}
    return Response(orjson.dumps(body), status, media_type="application/json")


def is_loopback(host: str) -> bool:
    """Return whether an address is this host's own, which nobody else reaches.

    Examples
    --------
    >>> [is_loopback(each) for each in ("127.0.0.1", "::1", "localhost", "::ffff:127.0.0.1", "0.0.0.0", "plant.local")]
    [True, True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _header(scope: Scope, name: bytes) -> bytes:
    # Of several headers of one name, none
    found = [value for each, value in scope["headers"] if each == name]
    return bytes(found[0]) if len(found) == 1 else b""


async def _body(scope: Scope, receive: Receive) -> bytes | Response | None:
    """Return a request's body, or why it is refused; ``None``: the client went away."""
    refused = refusal(413, f"a body has at most {MOST_BYTES:,} bytes", "body")
    length = _header(scope, b"content-length")
    if length.isdigit() and int(length[:20]) > MOST_BYTES:
        return refused
    try:
        async with asyncio.timeout(BODY_S):
            body = await _received(receive)
    except TimeoutError:
        return refusal(408, f"the body took longer than {BODY_S:g} s", "body")
    return refused if body is not None and len(body) > MOST_BYTES else body


async def _received(receive: Receive) -> bytes | None:
    """Return what a client sends, at most one piece more than is allowed; ``None``: it went away."""
    body, more = bytearray(), True
    while more and len(body) <= MOST_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already, and then whatever comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed

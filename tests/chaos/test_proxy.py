"""The proxy does what its troubles say, and is honest in between."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import Proxy, Trouble


@pytest.fixture
def echo() -> Iterator[int]:
    """Port of a server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while block := connection.recv(65_536):
                    connection.sendall(block)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    made = Proxy(echo).start()
    yield made
    made.stop()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        assert ask(connection, b"hello") == b"hello"
        yield connection


def ask(connection: socket.socket, words: bytes) -> bytes:
    connection.sendall(words)
    return answer(connection, len(words))


def answer(connection: socket.socket, length: int) -> bytes:
    got = b""
    while len(got) < length:
        block = connection.recv(65_536)
        assert block, "closed"
        got += block
    return got


def test_it_forwards_megabytes_both_ways_unchanged(client: socket.socket) -> None:
    words = bytes(range(256)) * 8192
    threading.Thread(target=client.sendall, args=(words,)).start()

    assert answer(client, len(words)) == words


def test_latency_holds_every_block_back_and_ends(proxy: Proxy, client: socket.socket) -> None:
    proxy.begin(Trouble.LATENCY, 1.0)
    began = time.monotonic()
    assert ask(client, b"slow") == b"slow"
    slow_s = time.monotonic() - began
    proxy.heal()
    began = time.monotonic()
    assert ask(client, b"fast") == b"fast"

    assert slow_s >= 2.0
    assert time.monotonic() - began < 2.0


def test_reset_tears_down_what_is_open_and_serves_new_connections(proxy: Proxy, client: socket.socket) -> None:
    assert proxy.begin(Trouble.RESET) == 1

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as another:
        assert ask(another, b"again") == b"again"


def test_half_open_swallows_and_says_nothing_until_it_ends_with_a_reset(proxy: Proxy, client: socket.socket) -> None:
    proxy.begin(Trouble.HALF_OPEN)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as another:
        for deaf in (client, another):
            deaf.sendall(b"anybody?")
            deaf.settimeout(0.3)
            with pytest.raises(TimeoutError):
                deaf.recv(1)

        proxy.heal()

        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as later:
        assert ask(later, b"back") == b"back"


def test_a_stall_holds_bytes_back_and_loses_none(proxy: Proxy, client: socket.socket) -> None:
    proxy.begin(Trouble.STALL)
    client.sendall(b"waiting")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(1)

    proxy.heal()

    client.settimeout(5)
    assert answer(client, 7) == b"waiting"
    assert ask(client, b"on") == b"on"


def test_a_cut_closes_what_is_open_and_refuses_until_it_ends(proxy: Proxy, client: socket.socket) -> None:
    proxy.begin(Trouble.CUT)

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    proxy.heal()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as another:
        assert ask(another, b"back") == b"back"


def test_a_target_that_is_away_is_a_connection_that_ends(proxy: Proxy) -> None:
    lonely = Proxy(1).start()
    with (
        socket.create_connection(("127.0.0.1", lonely.port), timeout=5) as connection,
        contextlib.suppress(ConnectionResetError),
    ):
        assert connection.recv(1) == b""
    lonely.stop()

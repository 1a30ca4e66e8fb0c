"""The websocket server: openpi's own client, bad frames, slow clients, tokens."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from policy_servers import running
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from lit_distill.errors import LitDistillError
from lit_distill.serving import server
from lit_distill.serving.server import PolicyServer, RequestError
from lit_distill.serving.wire import pack, unpack

METADATA = {"policy": "echo"}


def echo(request: dict[str, Any]) -> dict[str, Any]:
    """Adds one; `sleep` (s), `missing` and `defect` do what they say."""
    time.sleep(request.get("sleep", 0.0))
    if "missing" in request:
        raise RequestError("observation/image:\nis missing")
    if "defect" in request:
        raise KeyError("/secret/path")
    return {"actions": request["x"] + 1, "thread": threading.get_ident()}


@pytest.fixture
def port() -> Iterator[int]:
    with running(echo, METADATA, max_frame_bytes=100_000) as port:
        yield port


@contextlib.contextmanager
def connected(port: int, **options: Any) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None, **options) as connection:
        yield connection


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


def send_all(connection: ClientConnection, frames: list[bytes]) -> None:
    for frame in frames:
        connection.send(frame)
        connection.recv(timeout=10)


def works(port: int) -> bool:
    client = WebsocketClientPolicy("127.0.0.1", port)
    return bool(client.infer({"x": 1.0})["actions"] == 2.0)


def test_openpis_own_client_is_served(port: int):
    client = WebsocketClientPolicy("127.0.0.1", port)
    assert client.get_server_metadata() == METADATA
    for _ in range(2):
        answer = client.infer({"x": np.arange(6, dtype=np.float32).reshape(2, 3)})
        assert answer["actions"].tolist() == [[1, 2, 3], [4, 5, 6]]
        assert answer["server_timing"]["infer_ms"] >= 0.0


def test_it_says_that_it_is_healthy(port: int):
    status, body = get(port, "/healthz")
    assert (status, body.strip()) == (200, b"OK")
    assert get(port, "/")[0] == 426  # upgrade required


def test_an_error_is_one_line_without_a_traceback_and_the_connection_stays(port: int):
    with connected(port) as connection:
        connection.recv()
        for request, expected in (
            (pack({"missing": True}), "bad request: observation/image: is missing"),
            (b"\xc1", "bad request: not msgpack"),
            ("hello", "bad request: expected a binary frame, got text"),
            (
                pack({"defect": True}),
                "internal error: the policy failed with KeyError; the server's log says more",
            ),
        ):
            connection.send(request)
            answer = connection.recv(timeout=10)
            assert isinstance(answer, str) and answer.startswith(expected) and "\n" not in answer
        connection.send(pack({"x": 1}))
        assert unpack(connection.recv(timeout=10))["actions"] == 2


def test_a_client_that_sends_nothing_but_rubbish_is_shown_the_door(port: int):
    with connected(port) as connection:
        connection.recv()
        with pytest.raises(ConnectionClosed):
            send_all(connection, [b"\xc1"] * 100)
    assert works(port)


def test_an_oversized_frame_ends_its_connection_only(port: int):
    with connected(port) as connection:
        connection.recv()
        with pytest.raises(ConnectionClosed) as caught:
            send_all(connection, [b"\0" * 200_000])
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009
    assert works(port)


def test_requests_of_several_clients_are_answered_one_at_a_time_in_one_thread(port: int):
    def ask(number: int) -> tuple[Any, int]:
        answer = WebsocketClientPolicy("127.0.0.1", port).infer({"x": number, "sleep": 0.05})
        return answer["actions"], answer["thread"]

    started = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    assert [answer for answer, _ in answers] == [1, 2, 3, 4, 5, 6]
    assert len({thread for _, thread in answers}) == 1
    assert time.monotonic() - started >= 6 * 0.05


def test_what_a_client_that_left_had_asked_is_not_worked_on(port: int):
    with connected(port) as first, connected(port) as second:
        first.recv()
        second.recv()
        first.send(pack({"x": 1, "sleep": 0.5}))
        time.sleep(0.1)
        second.send(pack({"x": 1, "sleep": 30.0}))
        time.sleep(0.1)
        second.socket.shutdown(socket.SHUT_RDWR)
        first.recv(timeout=10)
    started = time.monotonic()
    assert works(port)
    assert time.monotonic() - started < 10


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def test_a_client_that_does_not_read_its_answer_is_dropped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "SEND_SECONDS", 0.3)
    large = np.zeros(50_000_000, dtype=np.uint8)
    answer = running(lambda request: {"actions": large if "large" in request else 2.0})
    with answer as port, socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(HANDSHAKE)
        request = pack({"large": True})
        slow.sendall(bytes([0x82, 0x80 | len(request), 0, 0, 0, 0]) + request)  # a frame, masked with 0
        time.sleep(1.0)
        assert works(port)
        slow.settimeout(10)
        assert sum(map(len, iter(lambda: read(slow), b""))) < len(large)


def read(connection: socket.socket) -> bytes:
    """Some bytes, none at the end or where the other side broke it off."""
    try:
        return connection.recv(2**20)
    except ConnectionResetError:
        return b""


def test_half_a_handshake_holds_nobody_up(port: int):
    with socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert works(port)


def test_a_token_is_asked_for_before_anything_else():
    with running(echo, METADATA, token="right") as port:
        for header in ({}, {"Authorization": "Api-Key wrong"}, {"Authorization": "right"}):
            with pytest.raises(InvalidStatus) as caught, connected(port, additional_headers=header):
                pass
            assert caught.value.response.status_code == 401
        assert WebsocketClientPolicy("127.0.0.1", port, api_key="right").infer({"x": 1})["actions"] == 2
        assert get(port, "/healthz")[0] == 200


@pytest.mark.parametrize("origin", ["https://example.org", "http://127.0.0.1:8080", "null"])
def test_a_web_page_is_turned_away_and_openpis_own_client_is_not(port: int, origin: Any):
    with pytest.raises(InvalidStatus) as caught, connected(port, origin=origin):
        pass
    assert caught.value.response.status_code == 403
    assert works(port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_beyond_this_machine_nothing_is_served_without_a_token(host: str):
    with pytest.raises(LitDistillError, match=rf"^host: {host} can be reached .* needs a token"):
        PolicyServer(echo, {}, host)
    PolicyServer(echo, {}, host, token="secret")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_this_machine_no_token_is_needed(host: str):
    PolicyServer(echo, {}, host)
    with pytest.raises(LitDistillError, match="token: must not be empty"):
        PolicyServer(echo, {}, host, token=" ")


def test_a_port_that_is_taken_is_named(port: int):
    with pytest.raises(LitDistillError, match=rf"^port: cannot listen on 127\.0\.0\.1:{port} .* --port"):
        PolicyServer(echo, {}, port=port).run()


def test_a_defect_of_the_policy_is_told_in_the_log_only(port: int, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR), pytest.raises(RuntimeError) as caught:
        WebsocketClientPolicy("127.0.0.1", port).infer({"defect": True})
    assert "/secret/path" not in str(caught.value) and "Traceback" not in str(caught.value)
    assert "/secret/path" in caplog.text

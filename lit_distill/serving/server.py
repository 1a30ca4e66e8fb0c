"""A websocket server that speaks openpi's protocol: metadata first, then a request, an answer, and so on.

A frame is a message of `wire.py`. An error is answered with one line of text instead, never a traceback;
the connection stays usable. Requests are answered one at a time, in the order of their arrival, always in
the same thread; several clients may be connected, and none that is slow, broken or gone holds up another.
`GET /healthz` answers 200 as soon as the policy can be asked. A web page, which any browser lets talk to this
machine, is turned away: browsers send an `Origin`, robots send none.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from lit_distill.errors import LitDistillError
from lit_distill.serving.wire import BAD_REQUEST, WireError, pack, unpack

logger = logging.getLogger(__name__)

Infer = Callable[[dict[str, Any]], dict[str, Any]]
MAX_FRAME_BYTES = 16 * 2**20
"""Two views of 1024 px fit; what is larger ends the connection (close code 1009)."""
SEND_SECONDS = 30.0
"""A client that does not take its answer for so long is dropped."""
PING_SECONDS = 30.0
"""How often a connection is probed, and how long its client may take to react."""
MAX_PORT = 65535
BAD_FRAMES = 16
"""A connection that sends so many bad frames in a row is closed."""


class RequestError(Exception):
    """The client's mistake; the text, one line, is sent to it."""


class PolicyServer:
    """Serves one policy.

    Args:
        infer: answers a request; raises RequestError for one that is wrong. Called in one thread only.
        metadata: sent to every client first.
        host: where to listen; anything that others can reach needs a token.
        port: TCP port, 0 for any that is free.
        token: what a client has to send as `Authorization: Api-Key TOKEN`; None: nothing.
        max_frame_bytes: largest request.
        close: called at the end, in the thread of `infer`.

    Raises:
        LitDistillError: see `check_place`.
    """

    def __init__(
        self,
        infer: Infer,
        metadata: dict[str, Any],
        host: str = "127.0.0.1",
        port: int = 8000,
        token: str | None = None,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        check_place(host, port, token)
        self._infer, self._metadata = infer, pack(metadata)
        self._host, self._port, self._token = host, port, token
        self._max_frame_bytes, self._close = max_frame_bytes, close
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy")

    def run(self, ready: Callable[[int], None] = lambda port: None) -> None:
        """Serve until `stop` or, in the main thread, SIGINT or SIGTERM.

        Args:
            ready: called with the port once clients may connect.

        Raises:
            LitDistillError: the port is taken, or the host is none of this machine's.
        """
        asyncio.run(self._run(ready))

    def stop(self) -> None:
        """End `run`; from any thread."""
        if self._loop is not None and self._stopped is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._stopped.set)

    async def _run(self, ready: Callable[[int], None]) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.add_signal_handler(number, self._stopped.set)
        try:
            server = await self._listen()
        except OSError as error:
            raise LitDistillError(
                f"port: cannot listen on {self._host}:{self._port} ({error.strerror}); choose another --port"
            ) from None
        try:
            ready(next(iter(server.sockets)).getsockname()[1])
            await self._stopped.wait()
        finally:
            server.close()
            await server.wait_closed()
            await self._loop.run_in_executor(self._thread, self._close)
            self._thread.shutdown(cancel_futures=True)

    async def _listen(self) -> Server:
        return await serve(
            self._converse,
            self._host,
            self._port,
            origins=[None],
            process_request=self._admit,
            compression=None,
            max_size=self._max_frame_bytes,
            max_queue=1,  # a client waits for its answer: what it sends meanwhile need not be kept here
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            close_timeout=2.0,
        )

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer `/healthz`; turn away who has no token."""
        if request.path == "/healthz":
            return connection.respond(HTTPStatus.OK, "OK\n")
        if self._token is None:
            return None
        given = request.headers.get_all("Authorization")
        expected = f"Api-Key {self._token}".encode()
        if len(given) == 1 and hmac.compare_digest(given[0].encode(errors="replace"), expected):
            return None
        return connection.respond(HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Api-Key ...\n")

    async def _converse(self, connection: ServerConnection) -> None:
        """Talk to one client until it leaves."""
        bad_frames = 0
        try:
            await self._send(connection, self._metadata)
            async for frame in connection:
                answer = await self._answer(connection, frame)
                if answer is None:
                    return
                await self._send(connection, answer)
                bad_frames = bad_frames + 1 if isinstance(answer, str) else 0
                if bad_frames >= BAD_FRAMES:
                    await connection.close(1008, "too many bad requests in a row")
        except (ConnectionClosed, TimeoutError) as error:
            logger.info("client %s: %s", connection.remote_address, type(error).__name__)
            connection.transport.abort()

    async def _send(self, connection: ServerConnection, frame: bytes | str) -> None:
        await asyncio.wait_for(connection.send(frame), SEND_SECONDS)

    async def _answer(self, connection: ServerConnection, frame: bytes | str) -> bytes | str | None:
        """The answer to a frame: bytes, the text of an error, or None if the client left meanwhile."""
        answering: asyncio.Future[Any] = asyncio.get_running_loop().run_in_executor(
            self._thread, self._infer_frame, frame
        )
        leaving: asyncio.Future[Any] = asyncio.create_task(connection.wait_closed())
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                answering.cancel()  # not begun: nobody waits for it any more
                return None
            answer: bytes | str = answering.result()
            return answer
        finally:
            leaving.cancel()

    def _infer_frame(self, frame: bytes | str) -> bytes | str:
        """Ask the policy, in its thread; whatever goes wrong becomes one line."""
        started = time.perf_counter()
        try:
            answer = self._infer(unpack(frame))
            timing = {"infer_ms": 1e3 * (time.perf_counter() - started)}
            return pack({"server_timing": timing, **answer})
        except (WireError, RequestError) as error:
            return BAD_REQUEST + " ".join(str(error).split())
        except Exception as error:  # the policy's own defect: told here in full, to the client by name only
            logger.exception("the policy failed")
            return (
                f"internal error: the policy failed with {type(error).__name__}; the server's log says more"
            )


def check_place(host: str, port: int, token: str | None) -> None:
    """Raise LitDistillError for a port that is none, an empty token, or none where others can reach it."""
    if not 0 <= port <= MAX_PORT:
        raise LitDistillError(f"port: must be in 0..{MAX_PORT}, got {port}")
    if token is not None and not token.strip():
        raise LitDistillError("token: must not be empty")
    if token is None and not is_loopback(host):
        raise LitDistillError(
            f"host: {host} can be reached from other machines, which needs a token; "
            "name the environment variable that holds it with --token_env, or use 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve_policy(
    infer: Infer,
    metadata: dict[str, Any],
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    max_frame_bytes: int = MAX_FRAME_BYTES,
    name: str = "policy",
    close: Callable[[], None] = lambda: None,
) -> None:
    """Serve a policy until it is interrupted; prints where, once clients may connect. See `PolicyServer`."""
    server = PolicyServer(infer, metadata, host, port, token, max_frame_bytes, close)
    at = f"[{host}]" if ":" in host else host
    server.run(lambda bound: print(f"{name}: serving at ws://{at}:{bound}", flush=True))

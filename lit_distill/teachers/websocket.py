"""A teacher behind openpi's protocol: websocket, metadata first, msgpack both ways."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

from lit_distill.errors import LitDistillError
from lit_distill.serving.wire import BAD_REQUEST, WireError, pack, unpack
from lit_distill.teachers.remote import Unreachable, authorization, one_line, token_refused
from lit_distill.teachers.replies import BadAnswer

CONNECT_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 2**20


class WebsocketConnection:
    """Speaks to one server; connects when it has to, and again when the connection was lost.

    Args:
        url: `ws://HOST:PORT`.
        timeout_s: how long an answer may take.
        token: sent as `Authorization: Api-Key TOKEN`, None: nothing.
    """

    def __init__(self, url: str, timeout_s: float, token: str | None = None) -> None:
        try:
            import msgpack  # noqa: F401
            import websockets.sync.client  # noqa: F401
        except ImportError:
            raise LitDistillError(
                "server: needs websockets and msgpack: pip install 'lit_distill[serve]'"
            ) from None
        self.name = url
        self._timeout_s = timeout_s
        self._headers = authorization(token)
        self._connection: Any = None
        self._stack = contextlib.ExitStack()
        self._metadata: dict[str, Any] = {}

    def metadata(self) -> dict[str, Any]:
        """What the server sent first."""
        self._connect()
        return self._metadata

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            LitDistillError: the server refuses the question, so asking again does not help.
        """
        from websockets.exceptions import WebSocketException

        self._connect()
        try:
            self._connection.send(pack(request))
            frame = self._connection.recv(timeout=self._timeout_s)
        except (OSError, EOFError, WebSocketException) as error:  # OSError: a TimeoutError, too
            self.close()  # what comes late must not be taken for the next answer
            raise Unreachable(one_line(error)[:200]) from None
        if isinstance(frame, str):
            text = " ".join(frame.split())
            if text.startswith(BAD_REQUEST):
                reason = text.removeprefix(BAD_REQUEST)[:200]
                raise LitDistillError(f"{self.name}: refuses the request: {reason}")
            raise BadAnswer(text[:200])
        try:
            return unpack(frame)
        except WireError as error:
            raise BadAnswer(str(error)) from None

    def close(self) -> None:
        """End the connection, without waiting for a server that may be gone."""
        self._connection = None
        self._stack.close()

    def _limit_sending(self) -> None:
        """A server that no longer reads must not hold up `send`, which knows no timeout, for longer."""
        seconds, rest = divmod(self._timeout_s, 1.0)
        limit = struct.pack("ll", int(seconds), max(1, int(1e6 * rest)))
        self._connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def _connect(self) -> None:
        if self._connection is not None:
            return
        from websockets.exceptions import InvalidStatus, WebSocketException
        from websockets.sync.client import connect

        try:
            opened = connect(
                self.name,
                compression=None,
                max_size=MAX_ANSWER_BYTES,
                additional_headers=self._headers,
                open_timeout=CONNECT_SECONDS,
                close_timeout=0.5,
                ping_interval=None,  # openpi's server is deaf while it computes; `timeout_s` decides
                proxy=None,
            )
            self._connection = self._stack.enter_context(opened)
            self._limit_sending()
        except InvalidStatus as error:
            if error.response.status_code in (401, 403):
                raise token_refused(self.name) from None
            raise Unreachable(one_line(error)[:200]) from None
        except (OSError, EOFError, WebSocketException) as error:
            raise Unreachable(one_line(error)[:200]) from None
        try:
            self._metadata = unpack(self._connection.recv(timeout=CONNECT_SECONDS))
        except (OSError, EOFError, WebSocketException, WireError) as error:
            self.close()
            raise Unreachable(f"no metadata: {one_line(error)[:200]}") from None

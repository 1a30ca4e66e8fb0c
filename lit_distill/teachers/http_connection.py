"""A teacher behind HTTP: `GET /metadata`, `POST /act`, JSON, arrays as json-numpy writes them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from lit_distill.errors import LitDistillError
from lit_distill.teachers.remote import Unreachable, authorization, one_line, token_refused
from lit_distill.teachers.replies import BadAnswer

CONNECT_SECONDS = 5.0
BUSY = (429, 502, 503, 504)
"""Statuses that mean: not now."""


class HttpConnection:
    """Speaks to one server, over connections that are kept.

    Args:
        url: `http://HOST:PORT`.
        timeout_s: how long an answer may take.
        token: sent as `Authorization: Api-Key TOKEN`, None: nothing.
    """

    def __init__(self, url: str, timeout_s: float, token: str | None = None) -> None:
        try:
            import httpx
        except ImportError:
            raise LitDistillError("server: needs httpx: pip install 'lit_distill[serve]'") from None
        self.name = url
        self._errors = httpx.TransportError
        self._garbled = httpx.DecodingError
        self._client = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_SECONDS)),
            headers=authorization(token),
            trust_env=False,  # a proxy between two machines of a laboratory is never meant
        )

    def metadata(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self._send("GET", "/metadata", None)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        return self._send("POST", "/act", to_json(request))

    def _send(self, method: str, path: str, body: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, json=body)
        except self._errors as error:
            raise Unreachable(one_line(error)) from None
        except self._garbled as error:
            raise BadAnswer(one_line(error)) from None
        if response.status_code in (401, 403):
            raise token_refused(self.name)
        if response.status_code in BUSY:
            raise Unreachable(f"status {response.status_code}")
        try:
            answer = response.json()
        except ValueError:
            raise BadAnswer(f"status {response.status_code}, not JSON") from None
        if response.status_code in (400, 413, 422):  # the question's fault: asking again does not help
            detail = answer.get("error", "") if isinstance(answer, dict) else ""
            raise LitDistillError(f"{self.name}: refuses the request: {' '.join(str(detail).split())[:200]}")
        if response.status_code != 200 or not isinstance(answer, dict):
            raise BadAnswer(f"status {response.status_code}: {' '.join(repr(answer).split())[:100]}")
        return answer


def to_json(value: Any) -> Any:
    """JSON-ready copy: an array becomes `{"__numpy__": base64, "dtype": ..., "shape": ...}`, C order."""
    if isinstance(value, dict):
        return {key: to_json(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"__numpy__": data, "dtype": value.dtype.str, "shape": list(value.shape)}
    return value

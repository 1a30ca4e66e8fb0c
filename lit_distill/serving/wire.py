"""openpi's wire format: msgpack in which an array is a small map, and nothing can run code.

    array   {b"__ndarray__": true, b"data": bytes, b"dtype": "<f4", b"shape": [16, 7]}    C order
    scalar  {b"__npgeneric__": true, b"data": 0.5, b"dtype": "<f4"}

Only booleans, integers, floats and text travel: no pickle, no objects, no records. What does not fit is
refused by name before anything is allocated for it.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgpack
import numpy as np

ARRAY, SCALAR, DATA, DTYPE, SHAPE = b"__ndarray__", b"__npgeneric__", b"data", b"dtype", b"shape"
KINDS = "biufU"
"""numpy's kinds that travel: boolean, signed, unsigned, float, text."""
DTYPE_NAME = re.compile(r"[<>=|]?([biuf][1-8]{1,2}|U[0-9]{1,6})")
MAX_DIMENSIONS = 16
MAX_CONTAINERS = 10_000
"""Lists and maps of one message; a simulator's state has some hundred."""
BAD_REQUEST = "bad request: "
"""How the text begins with which a server of ours refuses a question; asking again does not help."""


class WireError(Exception):
    """Bytes that are not a message, or a message that cannot travel; the text is one line."""


def pack(message: dict[str, Any]) -> bytes:
    """Return the bytes of a message: strings as keys; numbers, text, lists, maps, arrays as values.

    Raises:
        WireError: it holds something else.
    """
    try:
        packed: bytes = msgpack.packb(message, default=_to_map)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"cannot be sent: {error}") from None
    return packed


def unpack(frame: bytes | str) -> dict[str, Any]:
    """Return the message in a frame; its arrays cannot be written to.

    Raises:
        WireError: a text frame, bytes that are not msgpack, no map, or an array that is not as it says.
    """
    if isinstance(frame, str):
        raise WireError("expected a binary frame, got text")
    try:
        budget = _Budget()
        message = msgpack.unpackb(
            frame, object_hook=budget.map, list_hook=budget.list, ext_hook=_refuse_extension
        )
    except WireError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        text = " ".join(str(error).split())[:100]
        raise WireError(f"not msgpack ({type(error).__name__}{': ' if text else ''}{text})") from None
    if not isinstance(message, dict):
        raise WireError(f"expected a map, got {type(message).__name__}")
    return message


def _to_map(value: Any) -> Any:
    """msgpack's hook for what it does not know itself."""
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"a {type(value).__name__} has no place in a message")
    if value.dtype.kind not in KINDS:
        raise TypeError(f"dtype {value.dtype} has no place in a message")
    if isinstance(value, np.ndarray):
        return {ARRAY: True, DATA: value.tobytes(), DTYPE: value.dtype.str, SHAPE: value.shape}
    return {SCALAR: True, DATA: value.item(), DTYPE: value.dtype.str}


class _Budget:
    """How many lists and maps a message may still hold: a few bytes each, they cost much more to make."""

    def __init__(self) -> None:
        self._left = MAX_CONTAINERS

    def map(self, value: dict[Any, Any]) -> Any:
        """msgpack's hook for every map that was read."""
        self._spend()
        if ARRAY in value:
            return _array(value)
        if SCALAR in value:
            return _scalar(value)
        return value

    def list(self, value: list[Any]) -> list[Any]:
        """msgpack's hook for every list that was read."""
        self._spend()
        return value

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise WireError(f"more than {MAX_CONTAINERS} lists and maps")


def _array(value: dict[Any, Any]) -> np.ndarray:
    dtype, data, shape = _dtype(value.get(DTYPE)), value.get(DATA), value.get(SHAPE)
    if not isinstance(data, bytes):
        raise WireError("array: its data must be bytes")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise WireError(f"array: its shape must be a list of at most {MAX_DIMENSIONS} sizes")
    if not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise WireError("array: a size in its shape is not a number from 0")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise WireError(f"array: {len(data)} bytes are not {dtype}{shape}")
    if not data:
        return np.empty(shape, dtype)
    try:
        return np.frombuffer(data, dtype).reshape(shape)
    except ValueError as error:
        raise WireError(f"array: {error}") from None


def _scalar(value: dict[Any, Any]) -> np.generic:
    dtype, data = _dtype(value.get(DTYPE)), value.get(DATA)
    if not isinstance(data, bool | int | float | str) or isinstance(data, str) is not (dtype.kind == "U"):
        raise WireError(f"scalar: a {type(data).__name__} is not {dtype}")
    try:
        with np.errstate(over="ignore"):  # beyond a small float is inf, as in an array
            scalar: np.generic = dtype.type(data)
    except (ValueError, TypeError, OverflowError) as error:
        raise WireError(f"scalar: {error}") from None
    return scalar


def _dtype(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or not DTYPE_NAME.fullmatch(name):
        raise WireError(f"array: dtype {str(name)[:20]!r} is none of boolean, integer, float, text")
    try:
        return np.dtype(name)
    except TypeError:
        raise WireError(f"array: there is no dtype {name!r}") from None


def _refuse_extension(code: int, data: bytes) -> Any:
    raise WireError(f"msgpack extension {code} has no place in a message")

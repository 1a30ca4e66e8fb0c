"""The wire format: openpi's own, whatever fits comes back, nothing else gets in."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from openpi_client import msgpack_numpy

from lit_distill.serving.wire import WireError, pack, unpack

MESSAGE: dict[str, Any] = {
    "observation/image": np.arange(48, dtype=np.uint8).reshape(4, 4, 3),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "empty": np.empty((0, 7), dtype=np.float32),
    "mask": np.array([True, False]),
    "texts": np.array(["a", "ß"]),
    "big": np.arange(3, dtype=">i8"),
    "point": np.array(1.5),
    "scalar": np.float32(0.25),
    "flag": np.bool_(True),
    "prompt": "Put the carton of milk into the basket",
    "nested": {"list": [1, 2.5, None, {"deep": np.ones(2)}]},
}


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, np.ndarray | np.generic):
        return left.dtype == right.dtype and left.shape == right.shape and bool(np.all(left == right))
    return type(left) is type(right) and left == right


def test_a_message_comes_back_as_it_was():
    assert same(unpack(pack(MESSAGE)), MESSAGE)


def test_it_is_the_format_of_openpi_in_both_directions():
    assert pack(MESSAGE) == msgpack_numpy.packb(MESSAGE)
    assert same(msgpack_numpy.unpackb(pack(MESSAGE)), MESSAGE)
    assert same(unpack(msgpack_numpy.packb(MESSAGE)), MESSAGE)


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.zeros(1, "f4,f4"), np.zeros(1, "c8"), np.zeros(1, "M8[s]"), object(), {1}],
)
def test_what_has_no_place_in_a_message_is_not_sent(value: Any):
    with pytest.raises(WireError, match="has no place"):
        pack({"key": value})


def array(**changes: Any) -> bytes:
    whole = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f4", b"shape": [2]}
    entries = {**whole, **{key.encode(): value for key, value in changes.items()}}
    return msgpack.packb({"key": {key: value for key, value in entries.items() if value is not None}})


def scalar(data: Any, dtype: str) -> bytes:
    return msgpack.packb({"key": {b"__npgeneric__": True, b"data": data, b"dtype": dtype}})


BAD_FRAMES = {
    "text": "text",
    "nothing": b"",
    "noise": b"\xc1\xff\x00",
    "truncated": pack(MESSAGE)[:-5],
    "trailing bytes": pack(MESSAGE) + b"\x00",
    "a pickle": b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "a list": msgpack.packb([1, 2]),
    "an array only": msgpack_numpy.packb(np.zeros(3)),
    "a promised list that is not there": b"\xdd\xff\xff\xff\xff",
    "nested without end": b"\x91" * 100_000,
    "an extension": msgpack.packb({"key": msgpack.ExtType(5, b"abc")}),
    "integer keys": msgpack.packb({1: 2}),
    "text that is not utf-8": b"\x81\xa1k\xa2\xff\xfe",
    "objects": array(dtype="|O"),
    "bytes for objects": array(dtype="O8"),
    "a void": array(dtype="|V4"),
    "a record": array(dtype="<f4,<f4"),
    "a subarray": array(dtype="(2,)f4"),
    "dates": array(dtype="<M8[s]"),
    "no such dtype": array(dtype="<f3"),
    "a dtype that is a list": array(dtype=["<f4"]),
    "no dtype": array(dtype=None),
    "no shape": array(shape=None),
    "no data": array(data=None),
    "text as data": array(data="12345678"),
    "too few bytes": array(shape=[3]),
    "too many bytes": array(shape=[1]),
    "a negative size": array(shape=[-1, -2]),
    "a fraction of a size": array(shape=[2.0]),
    "a boolean size": array(shape=[True, 2]),
    "a huge size": array(shape=[2**62, 0], data=b""),
    "huge sizes beside a zero": array(shape=[2**30, 2**30, 2**30, 0], data=b""),
    "many dimensions": array(shape=[1] * 40 + [2]),
    "a scalar that is a list": scalar([1], "<f4"),
    "a scalar that is text": scalar("1", "<f4"),
    "a number as text": scalar(1, "<U1"),
    "a scalar out of range": scalar(300, "|u1"),
    "a scalar of objects": scalar(1, "|O"),
}


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_bytes_that_are_no_message_are_refused_in_one_line(frame: bytes | str):
    with pytest.raises(WireError) as caught:
        unpack(frame)
    assert "\n" not in str(caught.value)


def test_random_damage_never_gets_past():
    random = np.random.default_rng(0)
    whole = np.frombuffer(pack(MESSAGE), dtype=np.uint8)
    for _ in range(2000):
        damaged = whole.copy()
        damaged[random.integers(len(whole), size=3)] = random.integers(256, size=3)
        try:
            unpack(damaged.tobytes())
        except WireError:
            continue


def test_a_small_frame_of_very_many_lists_is_refused():
    with pytest.raises(WireError, match="^more than 10000 lists and maps$"):
        unpack(msgpack.packb({"proprio": [[] for _ in range(20_000)]}))
    assert len(unpack(msgpack.packb({"proprio": [[] for _ in range(9_000)]}))["proprio"]) == 9_000

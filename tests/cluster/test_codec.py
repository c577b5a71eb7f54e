"""What goes in comes out: every message, any array, and no array through pickle."""

import dataclasses
import math

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from psbook.cluster import codec
from psbook.core import messages
from psbook.core.keys import KeyRange

IDENTITY = messages.MessageId(3, 0, "w", 1, 17)


def round_trip(thing):
    header, frames = codec.encode(thing)
    return codec.decode(header, [frame.copy() for frame in frames])


def same(a, b):
    if isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)
    elif dataclasses.is_dataclass(a):
        assert type(a) is type(b)
        for field in dataclasses.fields(a):
            same(getattr(a, field.name), getattr(b, field.name))
    else:
        assert type(a) is type(b)
        assert a == b or (a != a and b != b)


@pytest.mark.parametrize(
    "message",
    [
        messages.Pull(IDENTITY, "w", KeyRange(0, 4), 2, 0.25),
        messages.Pull(IDENTITY, "w", np.array([1, 5, 9]), 2),
        messages.PullReply(IDENTITY, "w", KeyRange(0, 4), math.inf, 7, 1.5, 0.5, np.arange(4.0)),
        messages.Push(IDENTITY, "w", KeyRange(0, 2), np.ones((2, 3), "f4"), 4, 0.25, 6, IDENTITY),
        messages.Clock(IDENTITY, 3),
        messages.Finish(IDENTITY),
        messages.CallReply(IDENTITY, "w", 0.5, 3.25),
        messages.Ack(IDENTITY, 0.5),
        messages.Hello("worker-0"),
        messages.Start(),
        messages.Failed("server-1", "lost"),
        messages.Parcel(0, 1, "tag", {"x": np.arange(3), 2: [1, (2.5, None)], "s": "t"}),
    ],
    ids=lambda message: type(message).__name__,
)
def test_message_comes_back_equal(message):
    back = round_trip(message)
    if isinstance(message, messages.Parcel):
        same(message.value.pop("x"), back.value.pop("x"))
    same(message, back)


def test_every_message_class_is_registered():
    classes = [thing for thing in vars(messages).values() if codec._is_message(thing)]
    assert len(classes) > 15
    assert all(codec._DATACLASSES[cls.__name__] is cls for cls in classes)


@given(
    npst.arrays(
        dtype=st.sampled_from(["f8", "f4", "f2", "i8", "u1", "?", "c16", ">f4"]),
        shape=npst.array_shapes(min_dims=0, max_dims=3, min_side=0),
        elements={"allow_nan": False},
    )
)
def test_any_array_comes_back_equal(array):
    same(array, round_trip(array))


@pytest.mark.parametrize("scalar", [np.float32(1.5), np.int64(-3), np.bool_(True)])
def test_numpy_scalars_keep_their_type(scalar):
    same(scalar, round_trip(scalar))


def test_large_array_is_a_frame_without_a_copy():
    array = np.arange(100_000.0)
    header, frames = codec.encode(messages.Push(IDENTITY, "w", KeyRange(0, 100_000), array, 0))
    assert len(header) < 200
    assert len(frames) == 1 and np.shares_memory(frames[0], array)
    assert np.shares_memory(codec.decode(header, frames).value, array)


def test_small_array_is_copied_so_that_later_changes_do_not_show():
    array = np.zeros(10)
    encoded = codec.encode(array)
    array[:] = 1.0
    assert not codec.decode(*encoded).any()


def test_strided_array_comes_back_equal():
    array = np.arange(80_000.0).reshape(400, 200).T
    same(array, round_trip(array))


def test_no_array_is_pickled(monkeypatch):
    monkeypatch.setattr(cloudpickle, "dumps", lambda thing: pytest.fail(f"pickled {type(thing)}"))
    for length in (3, 100_000):
        round_trip(messages.Parcel(0, 1, "t", {"a": [np.ones(length)], "b": (np.float32(2),)}))


def test_function_of_a_call_crosses():
    offset = 3
    call = round_trip(messages.Call(IDENTITY, "w", lambda values, k: values.sum() + k + offset, (2,)))
    assert call.function(np.ones(4), *call.arguments) == 9


def test_jax_array_arrives_as_numpy():
    jnp = pytest.importorskip("jax.numpy")
    same(np.arange(3, dtype="f4"), round_trip(jnp.arange(3, dtype="float32")))


def test_integers_have_no_limit():
    same((2**70, -(2**64)), round_trip((2**70, -(2**64))))


def test_bfloat16_keeps_its_dtype():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    same(np.ones(3, bfloat16), round_trip(np.ones(3, bfloat16)))

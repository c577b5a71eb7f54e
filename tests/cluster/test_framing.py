"""The form of the data plane's bytes: messages come out wherever they are cut; rubbish is refused."""

import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psbook.cluster.plane.framing import (
    ALIGNMENT,
    BUFFER_BYTES,
    MAGIC,
    PREFIX,
    Limits,
    Unpacker,
    checked,
    pack,
)
from psbook.cluster.plane.memory import KEPT, Memory
from psbook.errors import Malformed, TooLarge

frames = st.lists(st.integers(0, 3 * BUFFER_BYTES).map(lambda n: np.arange(n).astype(np.uint8)), max_size=3)
items = st.lists(
    st.tuples(st.text(max_size=9), st.text(max_size=9), st.binary(max_size=2000), frames), max_size=4
)


def joined(messages):
    return b"".join(bytes(buffer) for message in messages for buffer in pack(message))


def same(found, expected):
    return len(found) == len(expected) and all(
        f[:3] == e[:3] and len(f[3]) == len(e[3]) and all(map(np.array_equal, f[3], e[3]))
        for f, e in zip(found, expected, strict=True)
    )


@given(items, st.lists(st.integers(1, 2 * BUFFER_BYTES), max_size=20))
def test_messages_come_out_whole_wherever_the_stream_is_cut(messages, cuts):
    stream, unpacker, found = joined(messages), Unpacker(), []
    for cut in cuts:
        found += unpacker.feed(stream[:cut])
        stream = stream[cut:]
    found += unpacker.feed(stream)
    assert same(found, messages)


@given(st.binary(max_size=300))
def test_rubbish_is_refused_or_waited_for_but_is_never_a_message(rubbish):
    try:
        found = Unpacker().feed(rubbish)
    except Malformed:
        return
    assert found == []
    assert len(rubbish) < PREFIX.size or rubbish.startswith(MAGIC)


@given(items.filter(bool), st.integers(0, 10**6), st.integers(1, 255))
def test_a_message_with_one_byte_changed_is_refused_or_has_the_same_form(messages, where, change):
    stream = bytearray(joined(messages))
    stream[where % len(stream)] ^= change
    try:
        found = Unpacker(Limits(2**16, 2**22)).feed(bytes(stream))
    except Malformed:
        return
    for source, destination, header, arrays in found:
        assert isinstance(source, str) and isinstance(destination, str) and isinstance(header, bytes)
        assert all(array.dtype == np.uint8 for array in arrays)


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "begins with b'GET '"),
        (PREFIX.pack(MAGIC, 2**32 - 1, 0), "announces"),
        (PREFIX.pack(MAGIC, 10, 2**63), "announces"),
        (PREFIX.pack(MAGIC, 4, 0) + b"\xc1\xc1\xc1\xc1", "no message"),
        (PREFIX.pack(MAGIC, 1, 0) + b"\x01", "no message"),
        (PREFIX.pack(MAGIC, 5, 0) + msgpack.packb([1, 2, [], 3]), "lacks sender"),
        (PREFIX.pack(MAGIC, 9, 0) + msgpack.packb(["a", "b", [-1], b""]), "no message|lacks|take"),
        (PREFIX.pack(MAGIC, 9, 0) + msgpack.packb(["a", "b", [65], b""]), "take 128 bytes, its body 0"),
    ],
)
def test_what_is_no_message_is_named(stream, said):
    with pytest.raises(Malformed, match=said):
        Unpacker().feed(stream)


def test_a_size_that_is_announced_reserves_nothing_before_it_is_allowed():
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            Unpacker(first=Limits(1024, 0)).feed(PREFIX.pack(MAGIC, 100, 2**32))
        assert tracemalloc.get_traced_memory()[1] < 4 * BUFFER_BYTES
    finally:
        tracemalloc.stop()


def test_the_first_message_may_have_limits_of_its_own():
    stream = joined([("a", "", b"secret", []), ("a", "b", bytes(5000), [])])
    assert len(Unpacker(first=Limits(1024, 0)).feed(stream)) == 2
    with pytest.raises(Malformed, match="announces"):
        Unpacker(first=Limits(1024, 0)).feed(joined([("a", "", bytes(2000), [])]))


def test_what_nobody_would_take_is_refused_where_it_is_sent():
    item = ("worker-0", "server-1", b"", [np.zeros(100, np.uint8)])
    assert checked(item) is item
    with pytest.raises(TooLarge, match="worker-0 to server-1 has 128 bytes"):
        checked(item, Limits(2**20, 127))


def test_arrays_arrive_aligned_read_only_and_without_a_copy():
    value = np.arange(300_000, dtype=np.float64)
    frame = value.view(np.uint8)
    ((*_, (first, second)),) = Unpacker().feed(joined([("a", "b", b"", [frame[:12345], frame])]))
    assert np.array_equal(second.view(np.float64), value)
    assert (second.ctypes.data - first.ctypes.data) % ALIGNMENT == 0
    assert not second.flags.writeable and not second.flags.owndata


def test_memory_is_never_given_out_twice_while_somebody_looks_at_it():
    memory = Memory()
    held = [np.frombuffer(memory.take(1000 + number), np.uint8) for number in range(3 * KEPT)]
    for number, array in enumerate(held):
        array[:] = number
    assert all((array == number).all() for number, array in enumerate(held))
    del held, array
    assert memory.take(1000).nbytes == 1000


@given(st.lists(st.tuples(st.integers(1, 5000), st.booleans()), max_size=60))
def test_memory_that_is_looked_at_keeps_what_it_held(steps):
    memory, held = Memory(), {}
    for number, (size, keep) in enumerate(steps):
        array = np.frombuffer(memory.take(size), np.uint8)
        array[:] = number % 251
        if keep:
            held[number] = array
        elif held:
            held.pop(min(held))
        del array
    assert all((array == number % 251).all() for number, array in held.items())

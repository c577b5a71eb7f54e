"""Where a process listens: who has the secret comes in, others are turned away and disturb nobody."""

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import replace

import dask
import numpy as np
import pytest

from psbook.cluster.plane import door
from psbook.cluster.plane.door import Door, dial, is_wanted, ports
from psbook.cluster.plane.framing import MAGIC, PREFIX, pack
from psbook.errors import ClusterError, Malformed

LOCAL = "tcp://127.0.0.1:0"


class Visitors:
    """A door, and what came in through it."""

    def __init__(self):
        self.welcomed, self.items, self.gone = [], asyncio.Queue(), asyncio.Queue()
        self.door = Door(
            lambda wire: self.welcomed.append(wire.peer),
            lambda wire, item: self.items.put_nowait((wire.peer, item)),
            lambda wire, why: self.gone.put_nowait((wire.peer, why)),
            lambda: None,
        )


@asynccontextmanager
async def opened(allowed=(0,)):
    visitors = Visitors()
    await visitors.door.open(LOCAL, None, allowed)
    try:
        yield visitors, visitors.door.entrance
    finally:
        await visitors.door.close()


def nobody(*_):
    pass


async def visit(entrance, name="worker-0", gone=nobody):
    return await dial(entrance, name, LOCAL, None, nobody, gone)


def soon(awaitable):
    return asyncio.wait_for(awaitable, 30)


def test_a_peer_with_the_secret_comes_in_and_is_known_by_its_name():
    async def main():
        async with opened() as (visitors, entrance):
            wire = await visit(entrance)
            value = np.arange(10**6).view(np.uint8)
            wire.put(("worker-0", "server-0", b"header", [value]))
            wire.flush()
            peer, (source, destination, header, (array,)) = await soon(visitors.items.get())
            assert (peer, source, destination, header) == ("worker-0", "worker-0", "server-0", b"header")
            assert np.array_equal(array, value)
            await wire.close()
            assert await soon(visitors.gone.get()) == ("worker-0", None)
            assert visitors.welcomed == ["worker-0"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        bytes(2**16),
        b"".join(map(bytes, pack(("worker-0", "", b"not the secret..", [])))),
        b"".join(map(bytes, pack(("worker-0", "", bytes(4000), [])))),
    ],
    ids=["another protocol", "zeros", "another secret", "too much"],
)
def test_a_stranger_is_turned_away_and_others_go_on(said):
    async def main():
        async with opened() as (visitors, entrance):
            friend = await visit(entrance, "worker-1")
            reader, writer = await asyncio.open_connection(entrance.host, entrance.port)
            writer.write(said)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await soon(reader.readexactly(1))  # it is closed, and nothing is ever said to it
            writer.close()
            friend.put(("worker-1", "server-0", b"still there", []))
            friend.flush()
            assert (await soon(visitors.items.get()))[1][2] == b"still there"
            assert visitors.welcomed == ["worker-1"]

    asyncio.run(main())


def test_a_stranger_that_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(door, "SHOW_SECONDS", 0.05)

    async def main():
        async with opened() as (visitors, entrance):
            reader, writer = await asyncio.open_connection(entrance.host, entrance.port)
            assert await soon(reader.read()) == b""
            writer.close()
            assert visitors.welcomed == []

    asyncio.run(main())


def test_a_friend_that_turns_to_rubbish_is_cut_off_by_name():
    async def main():
        async with opened() as (visitors, entrance):
            wire = await visit(entrance)
            wire.put(("worker-0", "server-0", b"one that is fine", []))
            wire.flush()
            await soon(visitors.items.get())
            wire._out.append(b"rubbish, more than sixteen bytes of it")
            wire.flush()
            peer, why = await soon(visitors.gone.get())
            assert peer == "worker-0" and isinstance(why, Malformed) and "begins with" in str(why)

    asyncio.run(main())


def test_each_door_has_its_own_secret_and_a_wrong_one_ends_the_connection():
    async def main():
        async with opened() as (_, one), opened() as (_, two):
            assert one.secret != two.secret and len(one.secret) >= 16
            ended = asyncio.get_running_loop().create_future()
            await visit(replace(one, secret=two.secret), gone=lambda wire, why: ended.set_result(why))
            await soon(ended)

    asyncio.run(main())


def test_a_large_message_waits_for_a_slow_reader_without_being_copied():
    async def main():
        async with opened() as (visitors, entrance):
            wire = await visit(entrance)
            wire.put(("worker-0", "server-0", b"hello", []))
            wire.flush()
            await soon(visitors.items.get())
            (inside,) = visitors.door.wires
            inside._transport.pause_reading()
            value = np.ones(2**25, np.uint8)
            wire.put(("worker-0", "server-0", b"", [value]))
            wire.flush()
            waiting = wire._transport.get_write_buffer_size()
            assert waiting <= 2**18 and wire.sent_bytes < value.nbytes  # all but a chunk stays where it is
            inside._transport.resume_reading()
            _, (*_, (array,)) = await soon(visitors.items.get())
            assert array.nbytes == value.nbytes and array.all()

    asyncio.run(main())


def test_the_next_free_port_of_the_range_is_taken():
    async def main():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            busy = taken.getsockname()[1]
            async with opened([busy, 0]) as (_, entrance):
                assert entrance.port != busy
            with pytest.raises(OSError, match="in use"):
                await Visitors().door.open(LOCAL, None, [busy])

    asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "allowed"),
    [(None, [0]), ("", [0]), (8800, [8800]), ("8800", [8800]), ("8800:8802", [8800, 8801, 8802])],
)
def test_ports_are_configured_as_one_or_as_a_range(given, allowed):
    with dask.config.set({"psbook.data-port": given}):
        assert ports() == allowed


@pytest.mark.parametrize("given", ["a", "1:b", "9:8", "-3", "70000", "1:2:3"])
def test_a_port_that_is_none_is_refused(given):
    with dask.config.set({"psbook.data-port": given}), pytest.raises(ClusterError, match="required: a port"):
        ports()


def test_the_way_is_configured():
    assert is_wanted()
    with dask.config.set({"psbook.data-plane": "comms"}):
        assert not is_wanted()
    with dask.config.set({"psbook.data-plane": "pigeons"}), pytest.raises(ClusterError, match="'pigeons'"):
        is_wanted()


def test_nothing_is_reserved_for_what_follows_a_wrong_secret(monkeypatch):
    taken = []
    from psbook.cluster.plane.memory import Memory

    take = Memory.take
    monkeypatch.setattr(Memory, "take", lambda self, size: taken.append(size) or take(self, size))

    async def main():
        async with opened() as (visitors, entrance):
            reader, writer = await asyncio.open_connection(entrance.host, entrance.port)
            wrong = b"".join(map(bytes, pack(("worker-0", "", b"not the secret..", []))))
            writer.write(wrong + PREFIX.pack(MAGIC, 2**20, 2**30) + bytes(100))
            assert await soon(reader.read()) == b""
            writer.close()
            assert visitors.welcomed == []

    asyncio.run(main())
    assert taken == []


def test_who_fails_the_handshake_leaves_nothing_behind():
    from distributed.security import Security

    security = Security.temporary()

    async def main():
        visitors = Visitors()
        context = security.get_listen_args("worker")["ssl_context"]
        await visitors.door.open("tls://127.0.0.1:0", context, [0])
        entrance = visitors.door.entrance
        for _ in range(20):
            reader, writer = await asyncio.open_connection(entrance.host, entrance.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await soon(reader.read())
            writer.close()
        assert not visitors.door._strangers
        wire = await dial(
            entrance, "worker-0", LOCAL, security.get_connection_args("worker")["ssl_context"], nobody, nobody
        )
        wire.put(("worker-0", "server-0", b"encrypted", []))
        wire.flush()
        assert (await soon(visitors.items.get()))[1][2] == b"encrypted"
        await wire.close()
        await visitors.door.close()

    asyncio.run(main())

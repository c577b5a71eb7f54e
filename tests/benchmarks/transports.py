"""What the data plane is compared with, between the same two processes: raw sockets, Dask's RPC and actors.

Each is a function that runs in the process of the client, and returns `Figures`.
"""

import asyncio
import statistics
import time
from typing import NamedTuple

import numpy as np

SMALL, MEDIUM, LARGE = 1_000, 250_000, 16_000_000
"""Numbers of float32: 4 kB, 1 MB, 64 MB."""

SIZES = {"4 kB": SMALL, "1 MB": MEDIUM, "64 MB": LARGE}
IN_FLIGHT = 32


class Figures(NamedTuple):
    """Seconds of a small pull (median, 99 %), small pulls a second with 32 in flight, GB/s by size."""

    small: float
    late: float
    rate: float
    pull: dict
    push: dict


def repeats(numbers):
    return {SMALL: 300, MEDIUM: 40, LARGE: 5}[numbers]


async def figures(pull, push, many):
    """Measure ``await pull(numbers)``, ``await push(numbers)``, and ``await many(count)`` small pulls."""
    small = await timed(lambda: pull(SMALL), 1000)
    await many(500)
    begin = time.perf_counter()
    await many(6000)
    rate = 6000 / (time.perf_counter() - begin)
    gigabytes = {"pull": {}, "push": {}}
    for operation, how in (("pull", pull), ("push", push)):
        for name, numbers in SIZES.items():
            seconds = statistics.median(await timed(lambda: how(numbers), repeats(numbers)))  # noqa: B023
            gigabytes[operation][name] = 4e-9 * numbers / seconds
    return Figures(
        statistics.median(small), float(np.quantile(small, 0.99)), rate, gigabytes["pull"], gigabytes["push"]
    )


async def timed(operation, count):
    await operation()
    await operation()
    seconds = []
    for _ in range(count):
        begin = time.perf_counter()
        await operation()
        seconds.append(time.perf_counter() - begin)
    return seconds


async def windowed(one, count):
    """Do something `count` times, with 32 under way."""
    left = iter(range(count))

    async def lane():
        for _ in left:
            await one()

    await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))


# Raw sockets: the limit. A request is 16 bytes (bytes wanted, bytes that follow), and then those.


class Echo(asyncio.BufferedProtocol):
    """The server's side."""

    def connection_made(self, transport):
        self.transport = transport
        self.head, self.filled, self.body = memoryview(bytearray(16)), 0, 0
        self.room = memoryview(np.empty(4 * LARGE, np.uint8))
        self.payload = memoryview(np.zeros(4 * LARGE, np.uint8))

    def get_buffer(self, hint):
        return self.room[: self.body] if self.body else self.head[self.filled :]

    def buffer_updated(self, count):
        if self.body:
            self.body -= count
        else:
            self.filled += count
            if self.filled < 16:
                return
            self.filled = 0
            self.wanted = int.from_bytes(self.head[:8])
            self.body = int.from_bytes(self.head[8:])
        if not self.body:
            for start in range(0, self.wanted, 2**18):
                self.transport.write(self.payload[start : min(start + 2**18, self.wanted)])


class Asker(asyncio.BufferedProtocol):
    """The client's side: replies come in the order of the requests."""

    def connection_made(self, transport):
        self.transport = transport
        self.waiting = []
        self.room = memoryview(np.empty(2**20, np.uint8))
        self.payload = memoryview(np.zeros(4 * LARGE, np.uint8))
        self.left = 0

    def get_buffer(self, hint):
        return self.room

    def buffer_updated(self, count):
        while count:
            taken = min(count, self.left)
            self.left -= taken
            count -= taken
            if not self.left:
                self.waiting.pop(0)[1].set_result(None)
                self.left = self.waiting[0][0] if self.waiting else 0

    def ask(self, wanted, sent):
        reply = asyncio.get_running_loop().create_future()
        self.waiting.append((wanted, reply))
        if len(self.waiting) == 1:
            self.left = wanted
        self.transport.write(wanted.to_bytes(8) + sent.to_bytes(8))
        for start in range(0, sent, 2**18):
            self.transport.write(self.payload[start : min(start + 2**18, sent)])
        return reply


async def open_echo(dask_worker):
    """Listen on the loop of a worker; return the port."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    dask_worker.bench_echo = server
    return server.sockets[0].getsockname()[1]


def raw(port):
    async def main():
        _, asker = await asyncio.get_running_loop().create_connection(Asker, "127.0.0.1", port)
        found = await figures(
            lambda numbers: asker.ask(4 * numbers, 0),
            lambda numbers: asker.ask(8, 4 * numbers),
            lambda count: windowed(lambda: asker.ask(4 * SMALL, 0), count),
        )
        asker.transport.close()
        return found

    from distributed import secede

    secede()
    return asyncio.run(main())


# Dask's RPC


async def open_rpc(dask_worker):
    from distributed.protocol import to_serialize

    tables = {numbers: np.zeros(numbers, np.float32) for numbers in SIZES.values()}

    async def pull(numbers):
        return to_serialize(tables[numbers])

    async def push(value):
        array = value.data if hasattr(value, "data") and not isinstance(value, np.ndarray) else value
        tables[len(array)] = tables[len(array)] + array

    dask_worker.handlers["bench_pull"] = pull
    dask_worker.handlers["bench_push"] = push


async def rpc(address, dask_worker):
    """Run on the loop of the client's process, where Dask's RPC lives."""
    from distributed.protocol import to_serialize

    there = dask_worker.rpc(address)
    values = {numbers: np.ones(numbers, np.float32) for numbers in SIZES.values()}
    return await figures(
        lambda numbers: there.bench_pull(numbers=numbers),
        lambda numbers: there.bench_push(value=to_serialize(values[numbers])),
        lambda count: windowed(lambda: there.bench_pull(numbers=SMALL), count),
    )


# Dask's actors


class Store:
    """A parameter server as an actor."""

    def __init__(self):
        self.tables = {numbers: np.zeros(numbers, np.float32) for numbers in SIZES.values()}

    async def pull(self, numbers):
        return self.tables[numbers]

    async def push(self, value):
        self.tables[len(value)] = self.tables[len(value)] + value


def actor(store):
    values = {numbers: np.ones(numbers, np.float32) for numbers in SIZES.values()}

    def simple(operation, count):
        operation()
        seconds = []
        for _ in range(count):
            begin = time.perf_counter()
            operation()
            seconds.append(time.perf_counter() - begin)
        return seconds

    small = simple(lambda: store.pull(SMALL).result(), 300)
    begin = time.perf_counter()
    for _ in range(20):
        for future in [store.pull(SMALL) for _ in range(IN_FLIGHT)]:
            future.result()
    rate = 20 * IN_FLIGHT / (time.perf_counter() - begin)
    gigabytes = {"pull": {}, "push": {}}
    for name, numbers in SIZES.items():
        count = max(3, repeats(numbers) // 4)
        for operation, how in (
            ("pull", lambda: store.pull(numbers).result()),  # noqa: B023
            ("push", lambda: store.push(values[numbers]).result()),  # noqa: B023
        ):
            gigabytes[operation][name] = 4e-9 * numbers / statistics.median(simple(how, count))
    return Figures(
        statistics.median(small), float(np.quantile(small, 0.99)), rate, gigabytes["pull"], gigabytes["push"]
    )

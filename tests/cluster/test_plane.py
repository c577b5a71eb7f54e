"""The planes of two processes: order, answers by a program's own way, and what happens without a door."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from functools import partial

import dask
import numpy as np
import pytest
from distributed import LocalCluster

import psbook as ps
from psbook.cluster.plane import Plane, ProgramPlane
from psbook.core.keys import KeyRange
from psbook.errors import Malformed

pytestmark = pytest.mark.dask


class Ends:
    """Two planes, of two Dask workers with addresses of their own, and what each was given."""

    def __init__(self, workers, scheduler):
        addresses = {"a": workers[0].address, "b": workers[1].address, "worker-0": workers[0].address}
        self.routes = {**addresses, "controller": scheduler}
        self.got = {"a": asyncio.Queue(), "b": asyncio.Queue(), "worker-0": asyncio.Queue()}
        self.broken = asyncio.Queue()
        self.planes = [
            Plane(
                worker, "test-stream", self.routes,
                lambda source, destination, message: self.got[destination].put_nowait((source, message)),
                lambda address, why: self.broken.put_nowait((address, why)),
            )
            for worker in workers
        ]  # fmt: skip

    async def next(self, node):
        return await asyncio.wait_for(self.got[node].get(), 30)


@asynccontextmanager
async def two_ends(open_doors=True):
    async with LocalCluster(
        n_workers=2, processes=False, protocol="tcp://", asynchronous=True, dashboard_address=":0",
        threads_per_worker=1, memory_limit=0,
    ) as cluster:  # fmt: skip
        ends = Ends(list(cluster.workers.values()), cluster.scheduler_address)
        for plane in ends.planes:
            await plane.open()
        try:
            yield ends
        finally:
            for plane in ends.planes:
                await plane.close()


def run(main, **options):
    async def outer():
        async with two_ends() as ends:
            await main(ends)

    with dask.config.set(options):
        asyncio.run(asyncio.wait_for(outer(), 60))


def test_messages_of_a_thread_arrive_in_its_order_and_large_ones_among_small():
    async def main(ends):
        one, _ = ends.planes

        def send(thread):
            for number in range(50):
                one.send("a", "b", (thread, number, np.full(number * 2000, number)))

        threads = [threading.Thread(target=send, args=(thread,)) for thread in range(3)]
        for thread in threads:
            thread.start()
        seen = {thread: [] for thread in range(3)}
        for _ in range(150):
            source, (thread, number, value) = await ends.next("b")
            assert source == "a" and value.shape == (number * 2000,) and (value == number).all()
            seen[thread].append(number)
        assert all(numbers == list(range(50)) for numbers in seen.values())
        assert "tcp port" in one.ways[ends.routes["b"]]

    run(main)


def test_inside_a_process_a_message_is_the_same_object():
    async def main(ends):
        value = (KeyRange(0, 1), np.zeros(10**6))
        ends.planes[0].send("worker-0", "a", value)
        assert (await ends.next("a"))[1] is value

    run(main)


def test_a_program_asks_and_is_answered_over_its_own_connection():
    async def main(ends):
        one, two = ends.planes
        answers = asyncio.Queue()
        program = ProgramPlane(
            "worker-0", one, lambda source, message: answers.put_nowait((source, message)), pytest.fail
        )
        program.send("b", "question")
        assert await ends.next("b") == ("worker-0", "question")
        two.send("b", "worker-0", np.arange(10**6))
        source, value = await asyncio.wait_for(answers.get(), 30)
        assert source == "b" and np.array_equal(value, np.arange(10**6))
        assert ends.got["worker-0"].empty()  # it did not go by the process
        await program.close()
        while two._direct:  # noqa: ASYNC110  # the end of a program's connection is told to nobody
            await asyncio.sleep(0.01)
        two.send("b", "worker-0", "late")
        assert await ends.next("worker-0") == ("b", "late")

    run(main)


def test_the_end_of_what_comes_in_costs_nothing_of_what_goes_out():
    async def main(ends):
        one, two = ends.planes
        one.send("a", "b", 0)
        two.send("b", "a", 0)
        assert [await ends.next("b"), await ends.next("a")] == [("a", 0), ("b", 0)]
        (inbound,) = one._door.wires
        inbound.abort()
        for number in range(1, 6):
            one.send("a", "b", number)
            assert await ends.next("b") == ("a", number)
        address, _ = await asyncio.wait_for(ends.broken.get(), 30)
        assert address in (ends.routes["a"], ends.routes["b"])
        two.send("b", "a", "again")  # over a new stream
        assert await ends.next("a") == ("b", "again")

    run(main)


def close_listening(plane):
    plane._door._server.close()


@pytest.mark.parametrize(
    ("options", "spoil", "said"),
    [
        ({"psbook.data-plane": "comms"}, None, "'comms'"),
        ({}, close_listening, "cannot be reached"),
    ],
    ids=["not wanted", "closed port"],
)
def test_without_a_door_messages_go_by_dasks_comms_and_it_is_said(options, spoil, said):
    async def main(ends):
        one, two = ends.planes
        if spoil:
            spoil(two)
        program = ProgramPlane("worker-0", one, partial(pytest.fail), pytest.fail)
        for number in range(20):
            one.send("a", "b", (number, np.full(10**5, number)))
            program.send("b", ("program", number))
        seen = [await ends.next("b") for _ in range(40)]
        assert [m[0] for source, m in seen if source == "a"] == list(range(20))
        assert [m[1] for source, m in seen if source == "worker-0"] == list(range(20))
        assert said in one.ways[ends.routes["b"]] and "comms" in one.ways[ends.routes["b"]]
        await program.close()

    run(main, **options)


def test_a_message_that_is_none_breaks_its_stream_by_name_and_no_other():
    async def main(ends):
        one, two = ends.planes
        one.send("a", "b", "fine")
        assert await ends.next("b") == ("a", "fine")
        one.send_item(ends.routes["b"], ("a", "b", b"\xc1 is no msgpack", []))
        address, why = await asyncio.wait_for(ends.broken.get(), 30)
        while not isinstance(why, Malformed):  # the other end hears only that it was cut off
            address, why = await asyncio.wait_for(ends.broken.get(), 30)
        assert address == ends.routes["a"] and "no message" in str(why)
        two.send("b", "a", "still here")
        assert await ends.next("a") == ("b", "still here")

    run(main)


def test_a_run_says_how_its_messages_went_and_a_stranger_at_its_port_changes_nothing(client, clean):
    def disturb(dask_worker):
        import socket

        planes = [p._plane for name, p in dask_worker.plugins.items() if name.startswith("psbook-")]
        for plane in planes:
            entrance = plane._door.entrance
            for rubbish in (b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"psb1" + bytes(60)):
                with socket.create_connection((entrance.host, entrance.port)) as stranger:
                    stranger.sendall(rubbish)
        return len(planes)

    async def count(worker):
        for number in range(60):
            await worker.pull("total")
            worker.push("total", np.ones(2))
            await worker.clock()
            if number == 20:
                await worker.sleep(3.0)  # long enough to be disturbed

    job = ps.Job(count, tables={"total": ps.Table(2)})
    handle = job.start(ps.Dask(client, workers=2, servers=2), ps.SSP(1))
    while handle.iterations < 20 and not handle.done:
        time.sleep(0.05)
    assert set(client.run(disturb).values()) == {1}
    done = handle.result(60)
    assert done.tables["total"].tolist() == [120.0, 120.0]
    ways = [way for of_process in done.meta["plane"].values() for way in of_process.values()]
    assert sum("tcp port" in way for way in ways) == 2

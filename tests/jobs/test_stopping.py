"""Stop keeps what was learned: the handle's stop, failures, Ctrl-C once and twice; on the simulator."""

import os
import signal
import threading

import numpy as np
import pytest

import psbook as ps
from psbook.errors import Interrupted, ProgramError, Stopped
from psbook.stopping import interruptible


async def count(worker):
    while True:
        await worker.pull("w")
        await worker.push("w", np.ones(4))
        await worker.clock()


def count_and_tell(event):
    """The same, which says when it is well under way."""

    async def program(worker):
        while True:
            await worker.push("w", np.ones(4))
            await worker.clock()
            if worker.iteration == 10:
                event.set()

    return program


def job(program=count, **options):
    return ps.Job(program, tables={"w": ps.Table(4), "v": ps.Table.rows(3, 2)}, **options)


def pushes(error):
    """Updates that the trace tells of, which the tables must hold."""
    applied = error.trace.of("apply")
    return applied[applied["table"] == "w"].groupby("start").size()


def interrupt_after(iterations, then=lambda: None):
    """A progress callback that presses Ctrl-C once so many iterations are over."""
    pressed = threading.Event()

    def progress(done, loss):
        if done >= iterations and not pressed.is_set():
            pressed.set()
            os.kill(os.getpid(), signal.SIGINT)
            then()

    return progress


@pytest.mark.parametrize("servers", [1, 2])
def test_what_a_stopped_simulation_had_learned_is_what_its_trace_applied(servers):
    done = threading.Event()
    program = count_and_tell(done)
    handle = job(program).start(ps.Simulator(workers=2, servers=servers, compute=0.1), ps.ASP())
    assert done.wait(20)
    handle.stop()
    with pytest.raises(Stopped) as caught:
        handle.result(20)
    applied = pushes(caught.value)
    assert set(caught.value.tables["w"]) == set(map(float, applied))
    np.testing.assert_array_equal(caught.value.tables["v"], np.zeros((3, 2)))


def test_ctrl_c_ends_a_simulation_between_two_events_and_keeps_what_it_had_learned():
    model, cluster = ps.BSP(), ps.Simulator(workers=2, compute=0.1)
    with pytest.raises(Interrupted) as caught:
        cluster.run(job(), model, interrupt_after(20))
    error = caught.value
    assert isinstance(error, KeyboardInterrupt)
    versions = error.trace.of("apply")["version"]
    assert error.tables["w"].tolist() == [2.0 * versions.max()] * 4  # an update is a round of two pushes
    assert error.tables["w"][0] >= 20
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_gives_up_at_once():
    twice = interrupt_after(5, then=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as caught:
        ps.Simulator(workers=2, compute=0.1).run(job(), ps.BSP(), twice)
    assert not isinstance(caught.value, Interrupted)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_failure_carries_what_was_learned_up_to_it():
    async def fail(worker):
        for _ in range(3):
            await worker.push("w", np.ones(4))
            await worker.clock()
        raise ZeroDivisionError

    with pytest.raises(ProgramError) as caught:
        job(fail).run(ps.Simulator(workers=1, compute=0.1), ps.ASP())
    np.testing.assert_array_equal(caught.value.tables["w"], 3.0)


def test_whoever_handles_interrupts_himself_goes_on_doing_so():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append("mine"))
    try:
        assert interruptible(lambda stop: os.kill(os.getpid(), signal.SIGINT) or stop.is_set()) is False
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == ["mine"]

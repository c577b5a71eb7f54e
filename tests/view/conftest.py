"""Traces to draw: a small one written by hand, and simulated runs."""

from types import SimpleNamespace

import numpy as np
import pytest

import psbook as ps
from psbook.trace import Recorder

META = {
    "backend": "simulator",
    "job": "by hand",
    "model": "ssp",
    "model_label": "SSP(0)",
    "programs": ["worker-0", "worker-1"],
    "workers": ["worker-0", "worker-1"],
    "servers": ["server-0"],
    "seed": 7,
    "iteration_unit": "mini-batch of 32",
    "time_unit": "simulated s",
    "end": 3.0,
}


@pytest.fixture
def by_hand():
    """Two workers; worker-0 is held from 1 to 2, worker-1 ends at 2.5. All five kinds of time occur."""
    recorder = Recorder()
    add = recorder.add
    add(0.0, "evaluator", "loss", clock=0, version=0, value=0.7)
    add(0.0, "worker-0", "compute", duration=0.9, clock=0)
    add(0.0, "worker-1", "compute", duration=2.0, clock=0)
    add(0.9, "worker-0", "clock", clock=1)
    add(0.9, "worker-0", "send", peer="server-0", message="r0.0/w/s0#2", bytes=64, clock=1, detail="Pull")
    add(0.9, "worker-0", "network", duration=0.1, clock=1)
    add(1.0, "server-0", "receive", peer="worker-0", message="r0.0/w/s0#2", bytes=64, clock=1, detail="Pull")
    add(1.0, "server-0", "park", peer="worker-0", table="w", message="r0.0/w/s0#2", clock=1,
        detail="worker-0 reads at clock 1: worker-1 at clock 0")  # fmt: skip
    add(1.0, "worker-0", "blocked", duration=1.0, clock=1)
    add(2.0, "worker-1", "clock", clock=1)
    add(2.0, "server-0", "apply", peer="worker-1", table="w", start=0, stop=62, clock=0, version=2,
        staleness=1, message="r1.0/w/s0#2", cause="r1.0/w/s0#1")  # fmt: skip
    add(2.0, "worker-1", "finish", clock=1)
    add(2.0, "evaluator", "loss", clock=2, version=2, value=0.4)
    add(2.0, "server-0", "release", peer="worker-0", message="r0.0/w/s0#2", value=1.0)
    add(2.0, "server-0", "send", peer="worker-0", message="r0.0/w/s0#2", bytes=124, detail="PullReply")
    add(2.0, "worker-1", "idle", duration=1.0, clock=1, detail="finished early")
    add(2.0, "worker-0", "queued", duration=0.5, clock=1)
    add(2.5, "worker-0", "receive", peer="server-0", message="r0.0/w/s0#2", bytes=124, detail="PullReply")
    add(2.5, "worker-0", "compute", duration=0.5, clock=1)
    return recorder.trace(dict(META))


@pytest.fixture(scope="session")
def simulate():
    """Run a small job under a model on the simulator."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(96, 5))
    y = (X @ np.arange(5.0) + rng.normal(size=96) > 0).astype(int)

    def run(model, *, seed=0, **cluster):
        from psbook.algorithms import logistic_regression

        job = logistic_regression(X, y, X, y, epochs=4, batch_size=4)
        settings = {"workers": 4, "servers": 2, "compute": ps.Exponential(0.1), "seed": seed, **cluster}
        return job.run(ps.Simulator(**settings), model)

    return run


@pytest.fixture
def as_run():
    """What `RunPlots` needs of a run."""
    return lambda trace: SimpleNamespace(trace=trace, meta=trace.meta)

"""What the compiled engine refuses, with the reason; and what "auto" does then."""

import copy
import dataclasses
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

import psbook as ps
from psbook.errors import InvalidJob, NonFinite, Unsupported
from psbook.simulator.compiled import Point, run_batch, why_not
from psbook.trace import statistics
from tests.compiled.comparing import JOBS, X, Y, least_squares, mean_square, square

PLAIN = JOBS["plain"]
CLUSTER = ps.Simulator(workers=3, compute=ps.Exponential(0.1), trace="iterations")


async def program(worker):
    for _ in worker.batches():
        await worker.compute(len, "")
        await worker.clock()


def branching(w, batch):
    """JAX cannot know which way a traced number takes."""
    return (0.0, w) if float(w[0]) > 0 else (1.0, w)


class Branching(ps.SGD):
    """An update function that JAX cannot trace."""

    def apply(self, xp, value, state, grad):
        return (value if float(grad[0]) > 0 else value - grad), state


class Own(ps.SSP):
    """A model of one's own."""


def of(loop=None, table=None, **options):
    return ps.Job(loop or ps.Loop(least_squares), tables={"w": table or ps.Table(5)},
                  **{"data": (X, Y), "batch_size": 8, "iterations": 2, **options})  # fmt: skip


RESUMED = copy.copy(PLAIN)
RESUMED.saved = object()

BY_CLUSTER = [
    ({"compute": ps.Measured()}, "compute times are measured"),
    ({"faults": ps.Faults(ps.Pause("worker-1", 0.1, 0.2))}, "faults are injected"),
    ({"safety": ps.Safety()}, "messages are made safe"),
    ({"service": 0.01}, "requests queue at the servers"),
    ({"network": ps.Network(bandwidth=1e6)}, "messages queue in the network"),
    ({"network": ps.Network(latency=0.01, links={("worker-0", "server-0"): 0.02})}, "links have latencies"),
    ({"network": ps.Network(latency=0.01), "placement": "together"}, "nodes on one host"),
    ({"network": ps.Network(latency=0.01, hosts={"worker-0": "a", "server-0": "a"})}, "nodes on one host"),
]
BY_MODEL = [
    (ps.Serial(), {}, PLAIN, "what Serial waits for is not known before the run"),
    (ps.ESSP(1), {}, PLAIN, "waits for is not known"),
    (ps.DSSP(0, 2), {}, PLAIN, "waits for is not known"),
    (Own(1), {}, PLAIN, "waits for is not known"),
    (ps.KSync(2), {"network": ps.Network(latency=0.01)}, PLAIN, "latencies decide whose gradient is late"),
    (ps.KAsync(2), {}, of(ps.Loop(least_squares, n_fetch=2)), "does not read and push in every iteration"),
]
BY_JOB = {
    "a coroutine": (
        ps.Job(program, tables={"w": ps.Table(5)}, data=X, iterations=2),
        "a coroutine, not a Loop",
    ),
    "skipping": (of(nonfinite="skip"), "are to be left out"),
    "cached": (of(table=ps.Table(5, cache=True)), "table 'w' is cached"),
    "float64": (of(table=ps.Table(5, dtype="float64")), "jax_enable_x64"),
    "branching kernel": (of(ps.Loop(branching)), "JAX cannot trace the kernel"),
    "branching update": (of(table=ps.Table(5, update=Branching(0.1))), "JAX cannot trace Branching"),
}
"""Jobs that run message by message."""

NEVER = {
    "resumed": (RESUMED, "goes on from a checkpoint"),
    "no data": (of(data=None), "has no data"),
    "no table": (of(ps.Loop(least_squares, pull="v")), "names a table 'v' that the job lacks"),
    "sparse table": (of(table=ps.Table.sparse(5)), "table 'w' is sparse"),
    "sparse data": (of(data=sparse.csr_array(X)), "data of type csr_array"),
    "objects": (of(data=np.array(["a", "b", "c"])), "data of type ndarray"),
    "wrong shape": (of(ps.Loop(lambda w, batch: (0.0, jnp.zeros(7)))), "JAX cannot trace the kernel"),
}
"""Jobs that are wrong, or have a part that only other programs use."""


def check(job, cluster, model, why, runs=True):
    assert why in why_not(job, cluster, model)
    with pytest.raises(
        Unsupported, match=r"required: a run that can be compiled, or engine='auto'"
    ) as raised:
        job.run(dataclasses.replace(cluster, engine="compiled"), model)
    assert why in str(raised.value)
    if runs:
        meta = job.run(cluster, model).meta
        assert meta["engine"] == "messages"
        assert why in meta["engine_why"]


def test_the_plain_job_is_compiled():
    assert why_not(PLAIN, CLUSTER, ps.SSP(1)) == ""
    run = PLAIN.run(CLUSTER, ps.SSP(1))
    assert run.meta["engine"] == "compiled"
    assert run.meta["engine_why"] == "the program is a Loop, and no time depends on a value"


@pytest.mark.parametrize(("options", "why"), BY_CLUSTER, ids=[why for _, why in BY_CLUSTER])
def test_clusters(options, why):
    check(PLAIN, dataclasses.replace(CLUSTER, **options), ps.BSP(), why)


def test_checkpoints(tmp_path):
    cluster = dataclasses.replace(CLUSTER, checkpoints=ps.Checkpoints(tmp_path, every=3))
    check(PLAIN, cluster, ps.BSP(), "checkpoints are taken")


@pytest.mark.parametrize(("model", "options", "job", "why"), BY_MODEL, ids=[m.label for m, *_ in BY_MODEL])
def test_models(model, options, job, why):
    check(job, dataclasses.replace(CLUSTER, **options), model, why)


@pytest.mark.parametrize(("job", "why"), BY_JOB.values(), ids=BY_JOB)
def test_jobs(job, why):
    check(job, CLUSTER, ps.BSP(), why)


@pytest.mark.parametrize(("job", "why"), NEVER.values(), ids=NEVER)
def test_jobs_that_are_wrong(job, why):
    check(job, CLUSTER, ps.BSP(), why, runs=False)


def test_a_full_trace_takes_every_message():
    full = dataclasses.replace(CLUSTER, trace="full")
    assert full.why_messages(PLAIN, ps.BSP()) == "trace='full' keeps every message"
    with pytest.raises(Unsupported, match="trace='full' keeps every message"):
        PLAIN.run(dataclasses.replace(full, engine="compiled"), ps.BSP())
    assert PLAIN.run(full, ps.BSP()).meta["engine_why"] == "trace='full' keeps every message"
    messages = dataclasses.replace(CLUSTER, engine="messages")
    assert PLAIN.run(messages, ps.BSP()).meta["engine_why"] == "engine='messages'"


SIZES = np.cumsum([0, *range(1, 10)])
LATE = {
    "no time": (square(ps.SGD(0.05)), {"compute": 0.0}, "iterations that take no time"),
    "nine sizes": (square(ps.SGD(0.05), data=[(X[a:b], Y[a:b]) for a, b in pairwise(SIZES)],
                          batch_size=None), {"workers": 9}, "batches of 9 different sizes"),
}  # fmt: skip


@pytest.mark.parametrize(("job", "options", "why"), LATE.values(), ids=LATE)
def test_what_is_seen_only_when_the_run_is_laid_out(job, options, why):
    cluster = dataclasses.replace(CLUSTER, **options)
    assert why_not(job, cluster, ps.BSP()) == ""
    with pytest.raises(Unsupported, match=why):
        job.run(dataclasses.replace(cluster, engine="compiled"), ps.BSP())
    run = job.run(cluster, ps.BSP())
    assert (run.meta["engine"], run.meta["engine_why"]) == ("messages", why)


def test_a_run_that_diverges_is_made_again_to_name_the_push():
    job = square(ps.SGD(1e30))
    with np.errstate(all="ignore"), pytest.raises(NonFinite, match="a push that is not finite"):
        job.run(dataclasses.replace(CLUSTER, engine="compiled"), ps.BSP())
    with np.errstate(all="ignore"), pytest.raises(NonFinite, match=r"worker-\d pushed 5 NaN"):
        job.run(CLUSTER, ps.BSP())


GATED = [ps.BSP(), ps.SSP(1), ps.ASP()]


@pytest.mark.parametrize(
    ("model", "n_push"),
    [*((model, n) for model in GATED for n in (1, 3)), (ps.KSync(2), 1), (ps.KAsync(2), 1)],
    ids=str,
)
def test_what_was_before_a_push_that_is_not_finite_is_kept(model, n_push):
    """The kernel gives NaN as soon as some weight is above 3, which a large rate brings about."""

    def kernel(w, batch):
        loss, gradient = least_squares(w, batch)
        return loss, jnp.where(jnp.abs(w).max() > 3.0, jnp.nan, gradient)

    job = square(ps.SGD(0.2), ps.Loop(kernel, n_push=n_push), iterations=30)
    cluster = dataclasses.replace(CLUSTER, compute=ps.Exponential(0.1), seed=5)
    (outcome,) = run_batch([Point(job, cluster, model)])
    with pytest.raises(NonFinite) as caught:
        job.run(dataclasses.replace(cluster, engine="messages"), model)
    trace = caught.value.trace
    assert outcome.diverged
    assert outcome.seconds == pytest.approx(trace.end, rel=1e-12)
    required = statistics.summary(trace)
    for name in ("seconds", "iterations", "updates", "iterations_per_s", "loss_final"):
        assert outcome.summary[name] == pytest.approx(required[name], rel=1e-5), name
    history = statistics.history(trace)
    for name, values in outcome.history.items():
        np.testing.assert_allclose(values, history[name], rtol=1e-5)
    assert 3 < len(history) < 30


def test_a_batch_loss_that_is_not_finite_ends_nothing():
    job = square(ps.SGD(0.05), ps.Loop(lambda w, batch: (jnp.inf, least_squares(w, batch)[1])))
    run = job.run(dataclasses.replace(CLUSTER, engine="compiled"), ps.BSP())
    assert np.isfinite(run.loss) and np.isinf(run.reports["value"]).all()


@pytest.mark.parametrize("engine", ["auto", "compiled", "messages"])
def test_what_no_engine_can_run_is_told_alike(engine):
    cluster = dataclasses.replace(CLUSTER, engine=engine)
    for job, servers, model, found in (
        (PLAIN, 6, ps.BSP(), "6 servers, but table 'w' has 5 keys"),
        (PLAIN, 1, ps.KSync(9), r"K-sync\(9\) with 3 workers"),
        (square(ps.SGD(0.1), data=[(X, Y), (X, Y)]), 1, ps.BSP(), "a list of 2 shards for 3 workers"),
        (square(ps.SGD(0.1), data=(X, Y[:9])), 1, ps.BSP(), r"data\[0\] has 97 rows, data\[1\] has 9 rows"),
    ):
        with pytest.raises(InvalidJob, match=found):
            job.run(dataclasses.replace(cluster, servers=servers), model)
    assert mean_square(PLAIN.run(cluster, ps.BSP()).tables["w"]) < 30

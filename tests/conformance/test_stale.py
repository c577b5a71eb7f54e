"""Update functions that ask how old a gradient is, and where it was computed: the same on every backend."""

import numpy as np
import pytest

import psbook as ps
from psbook.algorithms import ElasticAveraging
from psbook.errors import InvalidJob
from tests.conformance.scenarios import dawdle, label

N, SIZE, ITERATIONS = 3, 10, 5
TARGETS = np.linspace(-1, 1, SIZE)
RULES = [
    ps.DelayCompensated(0.2, 0.9),
    ps.DelayCompensated(0.2, 0.9, adaptive=True, decay=0.5),
    ps.StalenessAware(0.2),
]


def gradient(read, keys, rank, clock):
    return 0.25 * (1 + rank) * (read - TARGETS[keys]) + 0.1 * clock


def whole(rank, clock):
    return np.arange(SIZE)


def some(rank, clock):
    return np.flatnonzero(np.random.default_rng((rank, clock)).random(SIZE) < 0.6)


def program(keys_of, ahead=False, together=True):
    """Read some keys, compute from them, push.

    With `ahead`, the next read is begun before the push; with `together`, nobody pushes before all have read,
    so that there is something stale on any machine.
    """

    async def work(worker):
        def pull(clock):
            return worker.pull("w", None if keys_of is whole else keys_of(worker.rank, clock))

        reading = pull(0)
        for clock in range(ITERATIONS):
            read = await reading
            if together and not clock:
                await worker.barrier()
            await dawdle(worker)
            keys = keys_of(worker.rank, clock)
            if ahead:
                reading = pull(clock + 1)
                await dawdle(worker)
            worker.push("w", gradient(read, keys, worker.rank, clock), None if keys_of is whole else keys)
            await worker.clock()
            reading = reading if ahead else pull(clock + 1)
        await reading

    return work


def table(rule, **options):
    return ps.Table(SIZE, update=rule, dtype="float64", init=2.0, **options)


def replayed(run, rule, keys_of, servers):
    """Values of the table by the rule alone, from the order and the versions that the trace tells of."""
    rows, values = run.trace.of("apply"), np.full(SIZE, 2.0)
    for shard in range(servers):
        of = np.arange(SIZE)[SIZE * shard // servers : SIZE * (shard + 1) // servers]
        history, state = [values[of]], rule.init(np, values[of])
        for _, row in rows[rows["shard"] == shard].sort_values("version").iterrows():
            rank, clock = int(row["peer"].removeprefix("worker-")), int(row["clock"])
            at = np.isin(of, keys_of(rank, clock))
            read = history[row["version"] - 1 - row["staleness"]][at]
            given = {"read": read, "staleness": row["staleness"]}
            value, new = rule.apply(
                np, history[-1][at], {name: each[at] for name, each in state.items()},
                gradient(read, of[at], rank, clock), **{name: given[name] for name in rule.needs},
            )  # fmt: skip
            history.append(history[-1].copy())
            history[-1][at] = value
            for name, each in new.items():
                state[name][at] = each
        values[of] = history[-1]
    return values


def run_it(made, rule, job, model):
    """Run a job; or see it refused, where servers may be lost with what was read from them."""
    if made.safety is None or "read" not in rule.needs:
        return job.run(made, model)
    with pytest.raises(InvalidJob, match="required: none of them"):
        job.run(made, model)
    return None


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("model", [ps.ASP(), ps.SSP(1), ps.Serial()], ids=label)
@pytest.mark.parametrize("keys_of", [whole, some])
def test_a_run_is_its_rule_on_what_the_trace_says_was_read(cluster, rule, model, keys_of):
    work = program(keys_of, together=model != ps.Serial())
    job = ps.Job(work, tables={"w": table(rule)}, aggregate="sum")
    run = run_it(cluster(workers=N, servers=2), rule, job, model)
    if run is None:
        return
    assert (run.trace.of("apply")["staleness"] > 0).any() == (model != ps.Serial())
    np.testing.assert_allclose(run.tables["w"], replayed(run, rule, keys_of, 2), rtol=1e-12)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_a_read_begun_before_the_push_is_not_what_it_was_computed_from(cluster, sparse):
    rule = RULES[0]
    job = ps.Job(program(whole, ahead=True), tables={"w": table(rule, sparse=sparse)}, aggregate="sum")
    run = run_it(cluster(workers=N), rule, job, ps.ASP())
    if run is not None:
        found = run.tables["w"].values if sparse else run.tables["w"]
        np.testing.assert_allclose(found, replayed(run, rule, whole, 1), rtol=1e-12)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_cached_read_is_what_was_computed_from(cluster, rule):
    job = ps.Job(program(whole), tables={"w": table(rule, cache=True)}, aggregate="sum")
    run = run_it(cluster(workers=N, servers=2), rule, job, ps.SSP(3))
    if run is not None:
        np.testing.assert_allclose(run.tables["w"], replayed(run, rule, whole, 2), rtol=1e-12)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_under_bsp_nothing_is_stale(cluster, rule):
    jobs = [
        ps.Job(program(whole), tables={"w": table(each)}, aggregate="sum") for each in (rule, ps.SGD(0.2))
    ]
    run = run_it(cluster(workers=N, servers=2), rule, jobs[0], ps.BSP())
    if run is not None:
        plain = jobs[1].run(cluster(workers=N, servers=2), ps.BSP())
        np.testing.assert_array_equal(run.tables["w"], plain.tables["w"])


def kernel(x, batch):
    """Loss and gradient of ½ (x − mean of the batch)²."""
    return 0.5 * float(((x - batch.mean()) ** 2).sum()), x - batch.mean()


def test_elastic_averaging_under_bsp_is_the_synchronous_recursion(cluster):
    rate, alpha, steps = 0.125, 0.25, 6
    job = ps.Job(
        ElasticAveraging(kernel, rate, alpha), tables={"w": ps.Table(2, dtype="float64")},
        data=[np.full(4, float(rank)) for rank in range(N)], iterations=steps, batch_size=2,
    )  # fmt: skip
    run = job.run(cluster(workers=N, servers=2), ps.BSP())
    x, center, target = np.zeros(N), 0.0, np.arange(N)
    for _ in range(steps):
        moves = alpha * (x - center)
        x, center = x - moves - rate * (x - target), center + moves.sum()
    np.testing.assert_allclose(run.tables["w"], center, rtol=1e-12)
    for rank in range(N):
        np.testing.assert_allclose(run.results[f"worker-{rank}"], x[rank], rtol=1e-12)

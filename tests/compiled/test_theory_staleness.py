"""T4, T5, T6, T21: staleness on compiled runs, in exact integers and in distribution."""

import numpy as np
import pytest
from scipy import stats

import psbook as ps
from psbook.experiments import theory
from psbook.simulator.compiled import timeline
from psbook.simulator.compiled.order import gated_order
from psbook.simulator.compiled.timing import gates
from tests.compiled.comparing import JOBS
from tests.compiled.theory import LOOP, Z, order_of, random, replications

GATED = [ps.ASP(), ps.SSP(0), ps.SSP(3), ps.BoundedDelay(1), ps.PSP(1, beta=2, seed=4), ps.BSP()]
ROUNDS = [ps.KSync(3), ps.KBatchSync(3), ps.KAsync(3), ps.KBatchAsync(3), ps.BackupWorkers(2)]
DRAWS = {
    "uniform": lambda rng, shape: rng.uniform(0.5, 2.5, shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "heavy tails": lambda rng, shape: 0.2 * (1 + rng.pareto(1.2, size=shape)),
    "ties": lambda rng, shape: rng.integers(1, 4, size=shape) / 4,
}


def ledger(order):
    """Both sides of T4 behind every update, by brute force over all pairs of gradients.

    Gradient f is in flight from its read until the entry that closes its update, or drops it, which takes
    its age out of the books. Gradients of one update are not "other" to one another.
    """
    entries = np.arange(len(order.worker))
    closes = np.flatnonzero(order.applies)
    end = np.append(closes, len(entries))[np.searchsorted(closes, entries)]
    end = np.where(order.accepted, end, entries)
    seen = np.searchsorted(closes, order.read, side="right")
    dropped = ~order.accepted * (np.searchsorted(closes, entries) - seen)
    left, right, others = [], [], 0
    for version, at in enumerate(closes, start=1):
        others += int(((order.read < at) & (end > at)).sum())
        gone, flying = end <= at, (order.read <= at) & (end > at)
        ages = (version - seen)[flying].sum() + dropped[gone].sum()
        left.append(int(order.staleness[gone & order.accepted].sum() + ages))
        right.append(others)
    return left, right


@pytest.mark.parametrize("model", GATED + ROUNDS, ids=lambda model: model.label)
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_t4_staleness_is_conserved_at_every_update(model, draw):
    """Exact integers; workers of unequal counts, the first 3 times slower."""
    rng, scale = random(7), np.array([3.0, 1, 1, 1, 1, 1])[:, None]
    for latency in (0.0, 0.3) if model in GATED else (0.0,):
        _, order = order_of(model, scale * draw(rng, (6, 30)), [30, 30, 11, 30, 1, 24], latency)
        left, right = ledger(order)
        assert len(left) > 25
        assert left == right
        assert (order.staleness_of_pushes >= 0).all()


@pytest.mark.parametrize(
    ("model", "others"), [(ps.ASP(), 7), (ps.KBatchAsync(3), 7), (ps.KAsync(3), 5)], ids=str
)
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_t4_without_delays_every_update_ages_those_who_compute(model, others, draw):
    """While all 8 workers work: P − 1 others if nobody waits, P − K if those of an update wait for it."""
    _, order = order_of(model, draw(random(8), (8, 60)))
    left, right = ledger(order)
    first = order.version[np.flatnonzero(order.step == 59)[0]]
    assert first > 60
    assert left[:first] == right[:first] == [others * (update + 1) for update in range(first)]


@pytest.mark.parametrize(
    "model", [ps.ASP(), ps.SSP(2), ps.BSP(), ps.BoundedDelay(1)], ids=lambda model: model.label
)
def test_t4_on_compiled_traces_with_latency(model):
    """Staleness that the rows tell is what their times tell: updates between the answer and the apply.

    A read was answered one latency before its computation began. Times are continuous; a read that an
    update lets in is answered at its very time, behind it.
    """
    latency = 0.05
    cluster = ps.Simulator(workers=4, servers=2, compute=ps.Exponential(0.1), seed=2, trace="iterations",
                           network=ps.Network(latency=latency), engine="compiled")  # fmt: skip
    trace = JOBS["plain"].with_batches(iterations=20).run(cluster, model).trace
    spans = trace.of("compute")
    began = dict(zip(zip(spans["node"], spans["clock"], strict=True), spans["time"], strict=True))
    for _, rows in trace.of("apply").groupby("shard"):
        answered = np.array([began[key] for key in zip(rows["peer"], rows["clock"], strict=True)]) - latency
        applied, version = rows["time"].to_numpy(), rows["version"].to_numpy()
        at = np.array([applied[version == v][0] for v in range(1, version.max() + 1)])
        crossed = np.searchsorted(at, applied - 1e-9) - np.searchsorted(at, answered + 1e-9)
        assert rows["staleness"].tolist() == crossed.tolist()
        assert len(rows) == 80
        crossings = [int(((answered + 1e-9 < t) & (applied - 1e-9 > t)).sum()) for t in at]
        for v, t in enumerate(at, start=1):
            read = np.searchsorted(at, answered + 1e-9)
            flying = (answered + 1e-9 < t) & (applied - 1e-9 > t)
            ages = int((v - read)[flying].sum())
            held = int(rows["staleness"][applied <= t + 1e-9].sum())
            assert held + ages == sum(crossings[:v])


# T5


def asp_samples(rates, gradients, seed, runs=8):
    """Staleness of each worker's first gradients under ASP, as many as its rate, while all work."""
    kept = [int(gradients / runs * rate / sum(rates)) for rate in rates]
    counts = np.array([int(1.1 * count) + 100 for count in kept])
    X = random(seed).exponential(size=(runs, len(rates), max(counts))) / np.array(rates)[:, None]
    times, samples = timeline(ps.ASP(), X, counts=counts), []
    for run in range(runs):
        order = gated_order(times.run(run), gates(ps.ASP()), False, counts, LOOP, 0)
        entries = [np.flatnonzero(order.worker == k) for k in range(len(rates))]
        samples.append([order.staleness[each[:count]] for each, count in zip(entries, kept, strict=True)])
        last = max(each[count - 1] for each, count in zip(entries, kept, strict=True))
        assert last < min(each[-1] for each in entries)
    return [np.concatenate(each) for each in zip(*samples, strict=True)]


def chi_square(samples, p):
    """Significance of the counts against the geometric law on 0, 1, …, in cells of at least 10."""
    cells = np.arange(max(2, int(np.log(10 / len(samples)) / np.log1p(-p))))
    expected = len(samples) * p * (1 - p) ** cells
    found = np.bincount(samples, minlength=len(cells))
    observed = np.append(found[: len(cells)], found[len(cells) :].sum())
    return stats.chisquare(observed, np.append(expected, len(samples) - expected.sum())).pvalue


@pytest.mark.parametrize("rates", [(1.0,) * 8, (0.75, 1.0, 1.0, 1.25)], ids=["equal", "unequal"])
def test_t5_the_staleness_of_each_worker_is_geometric(rates):
    """T5: χ² at 0.1 %; mean within .5 % and variance within 3 %, each at 99.9 %.

    A geometric law has mean (1−p)/p, deviation √(1−p)/p, and a sample variance of relative deviation
    √(8 + p²/(1−p)) over the root of the number.
    """
    p = np.array(rates) / sum(rates)
    number = [max(replications(1 / np.sqrt(1 - q), 0.005), replications(3.1, 0.03)) / q for q in p]
    for q, samples, mean in zip(
        p, asp_samples(rates, max(number) + 100, seed=9), theory.asp_staleness_mean(rates), strict=True
    ):
        assert mean == pytest.approx((1 - q) / q)
        assert samples.mean() == pytest.approx(mean, rel=0.005)
        assert samples.var() == pytest.approx((1 - q) / q**2, rel=0.03)
        assert chi_square(samples, q) > 0.001


def test_t5_all_workers_together():
    """Mean n − 1, variance n(n − 1) within 1 %, and the mixture of the workers' laws, cell by cell."""
    n = 8
    pooled = np.concatenate(asp_samples((1.0,) * n, 10**6, seed=10))
    assert pooled.mean() == pytest.approx(n - 1, rel=0.0005)
    assert pooled.var() == pytest.approx(theory.asp_staleness_variance(n), rel=0.01)
    assert theory.asp_staleness_variance(n) == n * (n - 1)
    rates = (0.5, 1.0, 1.0, 2.5)
    pooled = np.concatenate(asp_samples(rates, 10**6, seed=11))
    required = theory.asp_staleness_pmf(rates, 30)
    found = np.bincount(pooled, minlength=30)[:30] / len(pooled)
    assert np.abs(found - required).max() < Z * 0.5 / np.sqrt(len(pooled))
    assert pooled.mean() == pytest.approx(3, rel=0.002)


# T6

T6 = [
    (ps.KBatchAsync(5), "kbatchasync", 11 / 5),
    (ps.KAsync(5), "kasync", 12 / 5 - 1),
    (ps.KSync(5), "ksync", 0.0),
    (ps.ASP(), "asp", 11.0),
]


@pytest.mark.parametrize(("model", "kind", "mean"), T6, ids=[model.label for model, _, _ in T6])
@pytest.mark.parametrize("law", ["exponential", "uniform", "ties"])
def test_t6_the_mean_staleness_is_a_count_and_no_matter_of_law(model, kind, mean, law):
    """T6: within .2 %. By T4 only what is in flight at the end is missing, whose age is bounded there."""
    k = getattr(model, "k", 1)
    _, order = order_of(model, DRAWS[law](random(12), (12, 1500)))
    end = np.flatnonzero(order.step == 1499)[0]
    stale = order.staleness[:end][order.accepted[:end]]
    assert theory.mean_staleness(kind, 12, k) == pytest.approx(mean)
    assert stale.mean() == pytest.approx(mean, rel=0.002)


# T21


def missing(order, workers):
    """Updates of clocks before its own that each read lacks, by other worker; shape (reads, workers)."""
    seen = np.zeros((len(order.worker) + 1, workers), int)
    seen[1:] = np.cumsum(order.worker[:, None] == np.arange(workers), axis=0)
    lacks = np.maximum(order.step[:, None] - seen[order.read + 1], 0)
    assert not lacks[np.arange(len(lacks)), order.worker].any()  # its own are all there
    return lacks


@pytest.mark.parametrize("latency", [0.0, 0.2])
@pytest.mark.parametrize("s", [0, 1, 3, 10])
@pytest.mark.parametrize("gate", ["read", "clock"])
def test_t21_an_ssp_read_misses_at_most_s_updates_of_each_other_worker(gate, s, latency):
    """T21 (Ho et al. 2013): at most s(P − 1) missing, one-sided; with the slow worker it is reached."""
    workers, most = 6, 0
    for seed in range(4):
        X = random(seed).exponential(size=(workers, 200)) * np.array([1, 1, 1, 1, 1, 4.0])[:, None]
        lacks = missing(order_of(ps.SSP(s, gate=gate), X, latency=latency)[1], workers)
        assert lacks.max(initial=0) <= s
        assert lacks.sum(axis=1).max() <= s * (workers - 1) == theory.missing_updates(s, workers)
        most = max(most, lacks.max())
    assert most == s


def test_t21_without_a_bound_reads_miss_more():
    X = random(0).exponential(size=(6, 200)) * np.array([1, 1, 1, 1, 1, 4.0])[:, None]
    assert missing(order_of(ps.ASP(), X)[1], 6).max() > 50

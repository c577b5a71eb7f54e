"""T2, T3, T6, T20 and P5: rounds of K gradients, path by path and in the mean.

The references sort the compute times of each round, or follow the workers' ends in a heap; they know nothing
of shards or messages.
"""

import heapq

import numpy as np
import pytest
from scipy import stats

import psbook as ps
from tests.theory.programs import booked, ends, half_width, number, run_loop

EXP = ps.Exponential(1.0)
LAWS = [EXP, ps.Pareto(shape=1.5, scale=0.5), ps.LogNormal(1.0, 0.5).spells(0.05, factor=4.0, length=3)]


def updates(run):
    """Time of each update, and the staleness of each gradient that was applied."""
    rows = run.trace.of("apply")
    return rows.groupby("version")["time"].first().to_numpy(), rows["staleness"].to_numpy()


def drops(run):
    """(worker, clock) of each gradient that was dropped, in order."""
    rows = run.trace.of("drop")
    return [(number(peer), clock) for peer, clock in zip(rows["peer"], rows["clock"], strict=True)]


# Path by path


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("law", LAWS, ids=[law.label for law in LAWS])
def test_a_k_sync_round_lasts_as_long_as_its_kth_worker_and_cuts_the_others_short(law, k, servers):
    workers, rounds, seed = 6, 40, 5
    run = run_loop(ps.KSync(k), law, workers, rounds, seed=seed, servers=servers)
    X = law.matrix(workers, rounds, seed)
    order = np.sort(X, axis=0)
    begin = np.concatenate([[0.0], np.cumsum(order[k - 1])])
    np.testing.assert_allclose(ends(run), begin[:-1] + np.minimum(X, order[k - 1]), rtol=1e-12)
    np.testing.assert_allclose(updates(run)[0], begin[1:], rtol=1e-12)
    late = [(i, c) for c in range(rounds) for i in range(workers) if X[i, c] > order[k - 1, c]]
    assert sorted(drops(run)) == sorted(late * servers)
    # Who is in time waits, who is late computes to the end of the round: nobody's time is unaccounted for.
    np.testing.assert_allclose(booked(run, "compute"), np.minimum(X, order[k - 1]).sum(axis=1), rtol=1e-9)
    waits = (order[k - 1] - np.minimum(X, order[k - 1]))[:, :-1].sum(axis=1)  # none behind the last
    np.testing.assert_allclose(booked(run, "blocked"), waits, rtol=1e-9, atol=1e-9)


def follow(X, k, *, waits, drops):
    """Update times, staleness of the counted, and (worker, clock) dropped; until the first worker is done.

    A heap of (end, worker). A worker's version is that of its last read.
    """
    workers, count = X.shape
    done, version, read = [0] * workers, 0, [0] * workers
    open_, times, staleness, dropped = [], [], [], []
    heap = [(X[i, 0], i) for i in range(workers)]
    heapq.heapify(heap)
    while True:
        now, i = heapq.heappop(heap)
        done[i] += 1
        if done[i] == count:
            return times, staleness, dropped
        free = [i]
        if drops and read[i] < version:
            dropped.append((i, done[i] - 1))
        else:
            open_.append((i, read[i]))
            free = [] if waits else [i]
            if len(open_) == k:
                staleness += [version - seen for _, seen in open_]
                free = [j for j, _ in open_] if waits else [i]
                version, open_ = version + 1, []
                times.append(now)
        for j in free:
            read[j] = version
            heapq.heappush(heap, (now + X[j, done[j]], j))


GOING_ON = [
    (ps.KAsync(3), {"waits": True, "drops": False}),
    (ps.KBatchAsync(4), {"waits": False, "drops": False}),
    (ps.BackupWorkers(2), {"waits": True, "drops": True}),
    (ps.BackupWorkers(4), {"waits": True, "drops": True}),
]


@pytest.mark.parametrize(("model", "switches"), GOING_ON, ids=[model.label for model, _ in GOING_ON])
@pytest.mark.parametrize("law", LAWS, ids=[law.label for law in LAWS])
def test_updates_come_when_the_kth_gradient_does(model, switches, law):
    workers, count, seed = 6, 60, 9
    run = run_loop(model, law, workers, count, seed=seed, servers=2)
    times, staleness, dropped = follow(law.matrix(workers, count, seed), model.needed(workers), **switches)
    assert len(times) > 50
    assert bool(dropped) is switches["drops"]
    np.testing.assert_allclose(updates(run)[0][: len(times)], times, rtol=1e-12)
    rows = run.trace.of("apply")
    rows = rows[(rows["version"] <= len(times)) & (rows["node"] == "server-1")]
    found = rows.sort_values(["version", "peer", "clock"], kind="stable")["staleness"]
    assert sorted(found) == sorted(staleness)
    first = run.trace.of("drop")
    first = first[(first["node"] == "server-0")].head(len(dropped))
    assert [(number(p), c) for p, c in zip(first["peer"], first["clock"], strict=True)] == dropped


def test_a_k_batch_sync_worker_makes_another_gradient_of_the_same_round():
    """Constant times 1 and 3: the fast worker makes both gradients of each round of two; the slow is cut."""
    run = run_loop(ps.KBatchSync(2), ps.Constant(1.0).slow({1: 3.0}), 2, [10, 10])
    times, staleness = updates(run)
    assert times[:5].tolist() == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert not staleness.any()
    assert drops(run)[:4] == [(1, 0), (1, 1), (1, 2), (1, 3)]


def test_all_of_k_equals_bsp_and_one_of_k_async_equals_asp():
    workers, count = 4, 30
    bsp, asp = (run_loop(model, EXP, workers, count, seed=3) for model in (ps.BSP(), ps.ASP()))
    for model in (ps.KSync(workers), ps.BackupWorkers(0), ps.KAsync(workers)):
        run = run_loop(model, EXP, workers, count, seed=3)
        np.testing.assert_allclose(ends(run), ends(bsp), rtol=1e-12)
        assert not drops(run) and not updates(run)[1].any()
    for model in (ps.KAsync(1), ps.KBatchAsync(1)):
        run = run_loop(model, EXP, workers, count, seed=3)
        np.testing.assert_allclose(ends(run), ends(asp), rtol=1e-12)
        np.testing.assert_array_equal(updates(run)[1], updates(asp)[1])


# In the mean


@pytest.mark.parametrize(("k", "mean"), [(10, 0.66877), (19, 2.59774)])
def test_t2_k_sync_rounds_of_exponential_times(k, mean):
    """T2: (H_P − H_{P−K})/μ; 99.9 % interval of the independent rounds."""
    run = run_loop(ps.KSync(k), EXP, 20, 800, seed=1)
    lengths = np.diff(updates(run)[0], prepend=0.0)
    assert half_width(lengths) < 0.08 * mean
    assert np.mean(lengths) == pytest.approx(mean, abs=half_width(lengths))
    harmonic = sum(1 / i for i in range(21 - k, 21))
    assert mean == pytest.approx(harmonic, rel=1e-5)


def test_k_batch_sync_rounds_of_exponential_times_last_k_over_p():
    """Dutta et al. 2018, Lemma 3: memoryless times, so cutting short costs nothing; 99.9 % interval."""
    run = run_loop(ps.KBatchSync(4), EXP, 8, 800, seed=2)
    lengths = np.diff(updates(run)[0], prepend=0.0)[:600]
    assert np.mean(lengths) == pytest.approx(4 / 8, abs=half_width(lengths))


@pytest.mark.parametrize("law", [EXP, ps.ShiftedExponential(1.0, 1.0), ps.Uniform(0.5, 2.5)])
def test_t3_k_batch_async_updates_at_k_over_p_of_the_mean(law):
    """T3: J updates of K gradients take J·K·E[X]/P, any law; 99.9 % interval of a renewal count."""
    workers, k, count = 10, 4, 1200
    run = run_loop(ps.KBatchAsync(k), law, workers, count, seed=4)
    times = updates(run)[0]
    times = times[times < min(each[-1] for each in ends(run))]
    X = law.matrix(workers, count, 4)
    spread = np.std(X) / np.mean(X) / np.sqrt(len(times) * k)
    assert spread < 0.01
    rate = times[-1] * workers / (len(times) * k * law.mean)
    assert rate == pytest.approx(1.0, abs=stats.norm.ppf(0.9995) * spread + 2 / len(times))


@pytest.mark.parametrize("law", [EXP, ps.Uniform(0.5, 2.5), ps.Pareto(shape=2.5, scale=0.6)])
@pytest.mark.parametrize(
    ("model", "mean"),
    [
        (ps.KAsync(4), 12 / 4 - 1),
        (ps.KBatchAsync(4), 11 / 4),
        (ps.KAsync(5), 12 / 5 - 1),
        (ps.KSync(4), 0.0),
        (ps.KBatchSync(4), 0.0),
        (ps.BackupWorkers(3), 0.0),
    ],
    ids=lambda each: getattr(each, "label", None),
)
def test_t6_mean_staleness_is_a_count_and_no_matter_of_law(model, mean, law):
    """T6: what is not in the mean is in flight at the end: (P/K)·P of the gradients at most (T4)."""
    workers, count = 12, 300
    run = run_loop(model, law, workers, count, seed=6)
    rows = run.trace.of("apply")
    stop = min(each[-1] for each in ends(run))
    staleness = rows["staleness"][rows["time"] < stop].to_numpy()
    assert len(staleness) > 900
    edge = 0.0 if mean == 0.0 else 3 * workers * workers / 4 / len(staleness)
    assert edge < 0.05
    assert np.mean(staleness) == pytest.approx(mean, abs=edge)


@pytest.mark.parametrize("b", [0, 1, 2])
def test_t20_a_round_is_slow_if_more_are_slow_than_are_spare(b):
    """T20: P(Bin(N+b, p) > b) if all N+b begin each round together, as K-sync does; at 0.1 %."""
    n, p, rounds = 50, 0.02, 300
    law = ps.Constant(1.0).spells(p, factor=1.5, length=1)
    run = run_loop(ps.KSync(n), law, n + b, rounds, seed=b + 1)
    lengths = np.diff(updates(run)[0], prepend=0.0)
    slow = int((lengths > 1.25).sum())
    assert stats.binomtest(slow, len(lengths), float(stats.binom.sf(b, n + b, p))).pvalue > 0.001


def test_t20_a_late_backup_worker_misses_the_beginning_of_the_next_round_too():
    """Times 1, and once 1.5: the late worker ends at 1.5, then at 2.5, always behind its round; it is dropped
    for ever, and nobody waits for it. A second one that is late holds everybody up.
    """
    late = ps.Constant(1.0).delayed(worker=2, iteration=0, delay=0.5)
    run = run_loop(ps.BackupWorkers(1), late, 3, 8)
    assert updates(run)[0][:7].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert drops(run)[:6] == [(2, clock) for clock in range(6)]
    run = run_loop(ps.BackupWorkers(1), late.delayed(worker=1, iteration=4, delay=0.25), 3, 8)
    assert updates(run)[0][:6].tolist() == [1.0, 2.0, 3.0, 4.0, 5.25, 6.25]


@pytest.mark.parametrize(("k", "published"), [(1, 2100), (5, 2559), (10, 3338), (15, 4629), (20, 9195)])
def test_p5_k_sync(k, published):
    """P5 (Dutta et al. 2018, Fig. 6): 2000 rounds of 1 + exp(1), P = 20; here 300; to 1 %."""
    run = run_loop(ps.KSync(k), ps.ShiftedExponential(1.0, 1.0), 20, 300, seed=8)
    lengths = np.diff(updates(run)[0], prepend=0.0)
    margin = 2000 * half_width(lengths) + 0.01 * published
    assert 2000 * np.mean(lengths) == pytest.approx(published, abs=margin)


@pytest.mark.parametrize(("k", "published"), [(1, 199), (5, 1120), (10, 2616), (15, 4261)])
def test_p5_k_async(k, published):
    """P5: 2000 updates; here 400, of which the noise is 1 %, and the published digits are good to 2 %."""
    updated = 400
    law = ps.ShiftedExponential(1.0, 1.0)
    run = run_loop(ps.KAsync(k), law, 20, int(updated * k / 20 * 1.5) + 20, seed=8)
    assert updates(run)[0][updated - 1] * 2000 / updated == pytest.approx(published, rel=0.03)

"""DSSP: the threshold stays in its range, and follows the speeds as its two algorithms say."""

import numpy as np
import pytest

import psbook as ps
from tests.theory.programs import ends, loop_job, max_plus, number, run_loop

LAWS = [ps.Exponential(1.0), ps.Pareto(shape=1.5, scale=0.5), ps.Exponential(1.0).slow({0: 3.0})]


def reference(X, low, high):
    """Ends of all iterations, event by event: who reads is asked at once, and again at every later end.

    From the paper: of the ends that the fastest could make, that which is closest to one of the slowest.
    """
    workers, count = X.shape
    F = [[] for _ in range(workers)]
    doing = {i: X[i, 0] for i in range(workers)}
    waiting = []

    def goes_on(i):
        at = {j: len(F[j]) for j in range(workers) if len(F[j]) < count}
        lead = at[i] - min(at.values())
        if lead <= low:
            return True
        slow = min(j for j in at if at[j] == min(at.values()))
        if lead > high or at[i] < max(at.values()) or len(F[slow]) < 2:
            return False
        mine = F[i][-1] + np.arange(high - lead + 2) * (F[i][-1] - F[i][-2])
        others = F[slow][-1] + np.arange(1, high - lead + 3) * (F[slow][-1] - F[slow][-2])
        return np.abs(mine[:, None] - others).min(axis=1).argmin() > 0

    while doing:
        i = min(doing, key=lambda j: (doing[j], j))
        now = doing.pop(i)
        F[i].append(now)
        asked = [j for j in (*waiting, i) if len(F[j]) < count]
        waiting = []
        for j in asked:
            if goes_on(j):
                doing[j] = now + X[j, len(F[j])]
            else:
                waiting.append(j)
    return np.array(F)


@pytest.mark.parametrize(("low", "high"), [(0, 3), (1, 4), (2, 2)])
@pytest.mark.parametrize("law", LAWS, ids=[law.label for law in LAWS])
def test_iterations_end_where_the_paper_s_algorithms_let_them(law, low, high):
    workers, count = 5, 60
    run = run_loop(ps.DSSP(low, high), law, workers, count, seed=4)
    required = reference(law.matrix(workers, count, 4), low, high)
    np.testing.assert_allclose(ends(run), required, rtol=1e-12)


@pytest.mark.parametrize("law", LAWS, ids=[law.label for law in LAWS])
def test_no_read_leads_by_more_than_high_and_none_waits_that_leads_by_low(law):
    low, high = 1, 4
    run = run_loop(ps.DSSP(low, high), law, 6, 60, trace="full", servers=2)
    rows = run.trace.of("answer", "receive", "park", "apply")
    clocks = {node: [0] * 6 for node in run.meta["servers"]}
    asked, leads, waits = {}, [], []
    for row in rows.itertuples():
        if row.kind == "receive" and row.detail == "Clock":
            clocks[row.node][number(row.peer)] = row.clock if row.clock < 60 else 10**9
        elif row.kind == "receive" and row.detail == "Pull":
            asked[row.message] = row.clock
        elif row.kind == "answer":
            leads.append(asked[row.message] - min(clocks[row.node]))
        elif row.kind == "park":
            waits.append(row.clock - min(clocks[row.node]))
    assert max(leads) == high and min(waits) == low + 1


def test_an_empty_range_is_ssp():
    for law in LAWS:
        X = law.matrix(5, 40, 7)
        run = run_loop(ps.DSSP(2, 2), law, 5, 40, seed=7, servers=3)
        np.testing.assert_allclose(ends(run), max_plus(X, 2), rtol=1e-12)


def test_the_fastest_goes_on_until_its_end_meets_one_of_the_slowest():
    """Times 1 and 4.25. Up to the second clock of the slowest, at 8.5 s, nothing is known of it: `low` holds.
    Then its next end is foreseen for 12.75 s, and the fastest works until 12.5 s.
    """
    run = run_loop(ps.DSSP(1, 6), ps.Constant(1.0).slow({1: 4.25}), 2, [20, 5])
    fast = ends(run)[0]
    assert fast[:2].tolist() == [1.0, 2.0]
    assert [c for c in fast if c <= 8.5] == [1.0, 2.0, 5.25]
    assert [c for c in fast if 8.5 < c < 13.5] == [9.5, 10.5, 11.5, 12.5]


def test_it_runs_with_copies_that_take_over():
    job = loop_job(15, keys=2)
    cluster = ps.Simulator(workers=3, servers=2, compute=LAWS[0], safety=ps.Safety(replicas=1),
                           faults=ps.Faults(ps.Crash("server-1", at=4.0)))  # fmt: skip
    run = job.run(cluster, ps.DSSP(0, 2))
    assert run.tables["w"].tolist() == [45.0, 45.0]
    assert run.check().ok

"""Luck: probabilities and burst lengths as described, and nobody's luck changed by anything else."""

from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from psbook.laws import Exponential
from psbook.simulator.faults import (
    LOST,
    NORMAL,
    BurstyLoss,
    Crash,
    Delay,
    Duplicate,
    Faults,
    Loss,
    Partition,
    Reorder,
    SlowLink,
)
from psbook.simulator.faults.luck import Luck

MESSAGES = 20_000


def fates(*faults, seed=1, link=("worker-0", "server-0"), count=MESSAGES, variant=0):
    links = Faults(*faults, seed=variant).links(seed)
    return [links.fates(*link, 0.0) for _ in range(count)]


def in_interval(hits, p, count=MESSAGES):
    low, high = stats.binom.interval(0.999, count, p)
    return low <= hits <= high


@pytest.mark.parametrize("p", [0.001, 0.05, 0.5, 0.97])
def test_hit_rates(p):
    assert in_interval(sum(fate == LOST for fate in fates(Loss(p))), p)
    assert in_interval(sum(fate == (0.0, 0.3) for fate in fates(Duplicate(p, 0.3))), p)
    assert in_interval(sum(fate == (0.3,) for fate in fates(Reorder(p, 0.3))), p)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_certainties(p):
    assert set(fates(Loss(p), count=1000)) == {NORMAL if p == 0 else LOST}
    assert set(fates(Duplicate(p, 0.3), count=1000)) == {NORMAL if p == 0 else (0.0, 0.3)}


def test_losses_are_independent_from_message_to_message():
    lost = [fate == LOST for fate in fates(Loss(0.3))]
    assert in_interval(sum(a and b for a, b in zip(lost[::2], lost[1::2], strict=True)), 0.09, MESSAGES // 2)


@pytest.mark.parametrize(("p", "length"), [(0.05, 4.0), (0.3, 1.0), (0.6, 10.0), (0.5, 2.0)])
def test_bursts_are_geometric_and_the_share_is_as_said(p, length):
    lost = [fate == LOST for fate in fates(BurstyLoss(p, length), count=100_000)]
    runs = [(bad, len(list(group))) for bad, group in groupby(lost)][1:-1]  # those that are whole
    bursts, gaps = ([n for bad, n in runs if bad is which] for which in (True, False))
    for found, mean in ((bursts, length), (gaps, length * (1 - p) / p)):
        spread = stats.norm.ppf(0.9995) * np.sqrt(mean * (mean - 1) / len(found))
        assert abs(np.mean(found) - mean) <= spread + 1e-12
        if mean > 1:
            # A geometric law in cells of at least 5 expected, by χ².
            most = int(stats.geom.isf(5 / len(found), 1 / mean))
            observed = np.bincount(np.minimum(found, most + 1), minlength=most + 2)[1:]
            expected = len(found) * np.append(
                stats.geom.pmf(np.arange(1, most + 1), 1 / mean), stats.geom.sf(most, 1 / mean)
            )
            assert stats.chisquare(observed, expected).pvalue > 0.001
    # The share of lost messages: a renewal process, so its variance comes from bursts and gaps.
    r, b = 1 / length, p / (length * (1 - p))
    variance = p * (1 - p) * (2 - r - b) / (r + b) / len(lost)
    assert abs(np.mean(lost) - p) <= stats.norm.ppf(0.9995) * np.sqrt(variance)


def test_the_chain_begins_in_its_stationary_law():
    links = Faults(BurstyLoss(0.4, 20)).links(seed=5)
    first = [links.fates(f"worker-{i}", "server-0", 0.0) for i in range(2000)]
    assert in_interval(first.count(LOST), 0.4, 2000)


def test_bursts_of_length_1_over_1_minus_p_are_independent_losses():
    lost = [fate == LOST for fate in fates(BurstyLoss(0.2, 1.25))]
    after_loss = [b for a, b in pairwise(lost) if a]
    assert in_interval(sum(after_loss), 0.2, len(after_loss))


def test_random_delays_follow_their_law():
    found = [fate[0] for fate in fates(Delay(Exponential(0.2)))]
    assert stats.kstest(found, stats.expon(scale=0.2).cdf).pvalue > 0.001
    copies = [fate[1] for fate in fates(Duplicate(0.5, Exponential(0.2))) if len(fate) == 2]
    assert stats.kstest(copies, stats.expon(scale=0.2).cdf).pvalue > 0.001


RANDOM = [Loss(0.3), BurstyLoss(0.3, 3), Duplicate(0.3, Exponential(0.1)), Reorder(0.3, Exponential(0.1))]


@pytest.mark.parametrize("fault", [*RANDOM, Delay(Exponential(0.1))], ids=lambda fault: type(fault).__name__)
def test_luck_is_a_function_of_seeds_and_link(fault):
    one = fates(fault, count=300)
    assert one == fates(fault, count=300)
    assert one != fates(fault, count=300, seed=2)
    others = [("server-0", "worker-0"), ("worker-1", "server-0"), ("worker-0", "server-1")]
    assert all(one != fates(fault, count=300, link=link) for link in others)
    assert one != fates(fault, count=300, variant=9)


@pytest.mark.parametrize("fault", RANDOM, ids=lambda fault: type(fault).__name__)
def test_what_happens_elsewhere_changes_nobodys_luck(fault):
    alone = fates(fault, count=600)
    elsewhere = [
        type(fault)(*list(fault.values().values()), links=[("worker-1", "*")]),
        Crash("server-1", at=1),
        Loss(0.9, at=3),
        SlowLink("worker-1", "server-1", 1.0),
        Delay(0.0),
    ]
    links = Faults(*elsewhere, fault).links(1)
    crowded = []
    for i in range(600):
        for other in ("server-0", "server-1"):
            for _ in range(i % 3):
                links.fates("worker-1", other, 0.0)
        crowded.append(links.fates("worker-0", "server-0", 0.0))
    assert crowded == alone


def test_another_fault_on_the_link_adds_but_does_not_redraw():
    both = fates(Loss(0.3), Duplicate(0.3, 0.5))
    twice = [len(fate) == 2 for fate in fates(Duplicate(0.3, 0.5))]
    for fate, lost, double in zip(both, fates(Loss(0.3)), twice, strict=True):
        assert fate == (LOST if lost == LOST else (0.0, 0.5) if double else NORMAL)


def test_a_likelier_loss_loses_these_and_more():
    few, many = (fates(Loss(p)) for p in (0.1, 0.2))
    assert all(b == LOST for a, b in zip(few, many, strict=True) if a == LOST)
    assert many.count(LOST) > few.count(LOST)


def test_two_equal_faults_have_luck_of_their_own():
    assert in_interval(fates(Loss(0.3), Loss(0.3)).count(LOST), 1 - 0.7**2)


def test_kinds_of_faults_do_not_share_their_luck():
    hits = [fate == (0.5,) for fate in fates(Reorder(0.3, 0.5), Loss(0.3)) if fate != LOST]
    assert in_interval(sum(hits), 0.3, len(hits))


def test_messages_before_a_fault_count():
    whole = fates(Loss(0.3), count=1000)
    links = Faults(Loss(0.3)).links(1)
    late = Faults(Loss(0.3, seconds=5)).links(1)
    times = [0.0] * 400 + [7.0] * 300
    assert [links.fates("worker-0", "server-0", t) for t in times] == whole[:700]
    assert [late.fates("worker-0", "server-0", t) for t in times] == whole[:400] + [NORMAL] * 300


def test_shortening_a_fault_keeps_the_luck_of_what_is_left():
    def lost(seconds):
        links = Faults(Loss(0.5, at=2, seconds=seconds)).links(3)
        return [links.fates("a", "b", t / 10) == LOST for t in range(100)]

    long, short = lost(6), lost(3)
    assert short[:50] == long[:50] and not any(short[50:]) and any(long[50:80])


@given(
    st.permutations([SlowLink("a", "b", 0.25), Delay(0.5), Duplicate(1.0, 2.0), Loss(0.4), Reorder(1.0, 4.0)])
)
def test_the_order_of_faults_does_not_matter(faults):
    found = fates(*faults, link=("a", "b"), count=20)
    assert set(found) == {LOST, (4.75, 6.75)}
    assert found == fates(*sorted(faults, key=repr), link=("a", "b"), count=20)


def test_two_duplications_make_four_copies():
    assert fates(Duplicate(1, 1), Duplicate(1, 2), count=1) == [(0.0, 1.0, 2.0, 3.0)]


def test_windows_are_half_open():
    links = Faults(SlowLink("a", "b", 0.5, at=1, seconds=2), Delay(0.25, at=2, seconds=5)).links(0)
    times = (0.0, 0.999, 1.0, 2.0, 2.999, 3.0, 6.999, 7.0, 1.5)  # and back, for whoever asks
    expected = [0.0, 0.0, 0.5, 0.75, 0.75, 0.25, 0.25, 0.0, 0.5]
    assert [links.fates("a", "b", t) for t in times] == [(delay,) for delay in expected]


def test_partitions_are_symmetric_and_cut_nothing_else():
    faults = Faults(Partition(["server-*"], ["worker-0", "worker-1"], at=2, seconds=3))
    links = faults.links(0)
    nodes = ["server-0", "server-1", "worker-0", "worker-1", "worker-2"]
    sides = {"server-0": 0, "server-1": 0, "worker-0": 1, "worker-1": 1}
    for now in (1.9, 2.0, 4.9, 5.0):
        for a in nodes:
            for b in nodes:
                apart = {sides.get(a), sides.get(b)} == {0, 1} and 2 <= now < 5
                assert links.cut(a, b, now) is links.cut(b, a, now) is apart
                assert links.fates(a, b, now) == (LOST if apart else NORMAL)


def test_asking_whether_a_link_is_cut_counts_no_message():
    links = Faults(Loss(0.5)).links(1)
    found = []
    for _ in range(300):
        links.cut("worker-0", "server-0", 0.0)
        found.append(links.fates("worker-0", "server-0", 0.0))
    assert found == fates(Loss(0.5), count=300)


def test_messages_within_a_process_are_never_touched():
    faults = Faults(Loss(1), Partition("server-0", "worker-0", at=0, seconds=9))
    links = faults.links(0, processes={"server-0": "host", "worker-0": "host"})
    assert links.fates("worker-0", "server-0", 1.0) is NORMAL and not links.cut("worker-0", "server-0", 1.0)
    assert links.fates("worker-1", "worker-1", 1.0) is NORMAL
    assert links.fates("worker-1", "server-0", 1.0) == LOST


def test_nothing_active_gives_the_shared_fate():
    for faults in (
        Faults(),
        Faults(Crash("a", 1)),
        Faults(Loss(1, at=5)),
        Faults(Loss(1, links=[("c", "d")])),
    ):
        links = faults.links(0)
        assert all(links.fates("a", "b", now) is NORMAL for now in (0.0, 1.0, 2.0))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**20))
def test_luck_can_be_asked_anywhere(seed, number):
    luck = Luck(seed, "Loss", "a", "b")
    value = luck.uniform(number)
    luck.uniform(number + 1000)
    assert 0 <= value < 1 and luck.uniform(number) == value
    assert Luck(seed, "Loss", "a", "b").uniform(number) == value

"""Network times against the closed forms of collectives, to 1e-9."""

import pickle
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psbook.errors import InvalidJob
from psbook.simulator.engine import EventQueue
from psbook.simulator.network import Network

S, B, ALPHA = 1e8, 1.25e9, 3e-4


def near(value):
    return pytest.approx(value, rel=1e-9)


def send_all(network, sends):
    """Send (time, source, destination, bytes) as an engine does: land when the first byte is there."""
    queue, arrivals = EventQueue(), {}

    def depart(number, source, destination, nbytes):
        head = network.depart(queue.now, source, destination, nbytes)
        queue.at(head, land, number, source, destination, nbytes)

    def land(number, source, destination, nbytes):
        arrivals[number] = network.land(queue.now, source, destination, nbytes)

    for number, (time, *message) in enumerate(sends):
        queue.at(time, depart, number, *message)
    queue.run()
    return [arrivals[number] for number in range(len(sends))]


def test_point_to_point():
    assert Network(B, ALPHA).arrival(2.0, "worker-0", "server-0", S) == near(2.0 + S / B + ALPHA)


@pytest.mark.parametrize(("slow", "fast"), [("worker", "server"), ("server", "worker")])
def test_the_slower_end_sets_the_pace(slow, fast):
    network = Network({slow: B / 10, fast: B}, ALPHA)
    assert network.arrival(0.0, "worker-0", "server-0", S) == near(10 * S / B + ALPHA)


def test_no_limit_means_no_time():
    network = Network(None)
    assert [network.arrival(t, "a", "b", S) for t in (0.0, 1.5, 1.5)] == [0.0, 1.5, 1.5]
    assert Network(None, ALPHA).arrival(1.0, "a", "b", S) == 1.0 + ALPHA


@pytest.mark.parametrize("n", [1, 2, 7, 100])
@pytest.mark.parametrize("workers_faster", [1, 4])
def test_many_senders_share_the_receivers_nic(n, workers_faster):
    network = Network({"worker": workers_faster * B, "server": B}, ALPHA)
    times = send_all(network, [(0.0, f"worker-{k}", "server-0", S) for k in range(n)])
    assert times == sorted(times)  # first come, first served
    assert max(times) == near(n * S / B + ALPHA)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_one_sender_to_many_shares_its_own_nic(n):
    times = send_all(Network(B, ALPHA), [(0.0, "server-0", f"worker-{k}", S) for k in range(n)])
    assert times == [near((k + 1) * S / B + ALPHA) for k in range(n)]


@pytest.mark.parametrize("n", [2, 5, 16])
def test_gather_then_scatter(n):
    """Naive all-reduce at one node without latency: 2·n·S/B."""
    network = Network(B)
    gathered = max(send_all(network, [(0.0, f"worker-{k}", "server-0", S) for k in range(n)]))
    scattered = send_all(network, [(gathered, "server-0", f"worker-{k}", S) for k in range(n)])
    assert max(scattered) == near(2 * n * S / B)


@pytest.mark.parametrize("n", [2, 3, 8, 10])
def test_ring_all_reduce(n):
    """2(n − 1)/n·S/B + 2(n − 1)·α: every node passes on a part as soon as it has it."""
    network, ready = Network(B, ALPHA), [0.0] * n
    for _ in range(2 * (n - 1)):
        times = [network.arrival(ready[k], f"worker-{k}", f"worker-{(k + 1) % n}", S / n) for k in range(n)]
        ready = [times[k - 1] for k in range(n)]
    assert ready == [near(2 * (n - 1) / n * S / B + 2 * (n - 1) * ALPHA)] * n


@pytest.mark.parametrize("n", [2, 3, 8, 10, 64])
def test_binomial_broadcast(n):
    """⌈log2 n⌉·(α + S/B) in rounds: whoever has the value sends it to one who has not."""
    network, now, having = Network(B, ALPHA), 0.0, 1
    while having < n:
        new = range(having, min(2 * having, n))
        now = max(network.arrival(now, f"worker-{k - having}", f"worker-{k}", S) for k in new)
        having = min(2 * having, n)
    assert now == near(ceil(log2(n)) * (ALPHA + S / B))


@pytest.mark.parametrize(
    ("workers", "servers", "worker_rate", "server_rate"),
    [
        (1, 1, B, B),
        (8, 1, B, B),
        (8, 1, 3 * B, B),
        (1, 8, B, B),
        (4, 4, B, B),
        (8, 4, B, B),
        (12, 3, B, B),
    ],
)
def test_pull_then_push_of_a_sharded_table(workers, servers, worker_rate, server_rate):
    """2S·max(1/B_w, n/(P·B_s)), when worker k begins at shard k and goes round."""
    network = Network({"worker": worker_rate, "server": server_rate})
    part = S / servers
    turns = [(k, (k + step) % servers) for step in range(servers) for k in range(workers)]
    pairs = [(f"worker-{k}", f"server-{j}") for k, j in turns]
    pulled = max(send_all(network, [(0.0, server, worker, part) for worker, server in pairs]))
    pushed = max(send_all(network, [(pulled, worker, server, part) for worker, server in pairs]))
    bound = S * max(1 / worker_rate, workers / (servers * server_rate))
    assert pulled == near(bound)
    assert pushed == near(2 * bound)


@pytest.mark.parametrize("slower", [2, 10])
@pytest.mark.parametrize("n", [1, 3, 10, 40])
def test_slow_workers_of_a_fast_server(n, slower):
    """Pushes fill the server's NIC together, S·max(1/B_w, n/B_s); pulls leave it one after the other."""
    network = Network({"worker": B / slower, "server": B}, ALPHA)
    pushed = send_all(network, [(0.0, f"worker-{k}", "server-0", S) for k in range(n)])
    pulled = send_all(network, [(0.0, "server-0", f"worker-{k}", S) for k in range(n)])
    assert max(pushed) == near(S * max(slower / B, n / B) + ALPHA)
    assert max(pulled) == near((n - 1) * S / B + slower * S / B + ALPHA)


@pytest.mark.parametrize("slower", [4, 16])
def test_one_fast_worker_of_eight_slow_servers(slower):
    network, part = Network({"worker": B, "server": B / slower}), S / 8
    pulled = send_all(network, [(0.0, f"server-{j}", "worker-0", part) for j in range(8)])
    pushed = send_all(network, [(0.0, "worker-0", f"server-{j}", part) for j in range(8)])
    assert max(pulled) == near(S * max(1, slower / 8) / B)
    assert max(pushed) == near((7 + slower) * part / B)


@pytest.mark.parametrize("n", [1, 6])
def test_both_directions_at_once(n):
    """Full duplex: pulls and pushes overlap, S·max(…) in all."""
    pulls = [(0.0, "server-0", f"worker-{k}", S) for k in range(n)]
    pushes = [(0.0, f"worker-{k}", "server-0", S) for k in range(n)]
    assert max(send_all(Network(B, ALPHA), pulls + pushes)) == near(n * S / B + ALPHA)


def test_nodes_on_one_host_share_a_nic_and_talk_for_nothing():
    hosts = {"worker-0": "host-0", "server-0": "host-0", "worker-1": "host-1", "server-1": "host-1"}
    network = Network(B, ALPHA, hosts=hosts)
    assert network.arrival(1.0, "worker-0", "server-0", S) == 1.0
    assert network.arrival(1.0, "worker-0", "worker-0", S) == 1.0
    assert network.arrival(1.0, "worker-0", "server-1", S) == near(1 + S / B + ALPHA)
    assert network.arrival(1.0, "server-0", "worker-1", S) == near(1 + 2 * S / B + ALPHA)


def test_a_message_waiting_at_its_sender_does_not_hold_up_the_receiver():
    """Worker 0 is busy with server 0 until S/B; meanwhile server 1 takes in what worker 1 sends."""
    sends = [
        (0.0, "worker-0", "server-0", S),
        (0.0, "worker-0", "server-1", S),
        (0.01, "worker-1", "server-1", S / 2),
    ]
    assert send_all(Network(B), sends) == [near(S / B), near(2 * S / B), near(0.01 + S / B / 2)]
    at_once = Network(B)
    booked = [at_once.arrival(*send) for send in sends]
    assert booked[2] == near(2.5 * S / B)  # why an engine lands messages when they are there


messages = st.lists(
    st.tuples(
        st.floats(0, 10),
        st.sampled_from(["worker-0", "worker-1", "worker-2"]),
        st.sampled_from(["server-0", "server-1"]),
        st.floats(1, 100),
    ),
    min_size=1,
    max_size=30,
)


@given(messages, st.floats(0, 2))
def test_nothing_is_faster_than_the_wire_or_overtakes(sends, latency):
    sends = sorted(sends)
    network = Network({"worker": 20.0, "server-0": 50.0, "server-1": 5.0}, latency)
    times = send_all(network, sends)
    for (sent, _, destination, nbytes), time in zip(sends, times, strict=True):
        rate = {"server-0": 20.0, "server-1": 5.0}[destination]
        assert time >= sent + latency + nbytes / rate - 1e-9
    pairs = {(source, destination) for _, source, destination, _ in sends}
    for pair in pairs:
        along = [time for (_, *ends, _), time in zip(sends, times, strict=True) if tuple(ends) == pair]
        assert along == sorted(along)
    for server, rate in (("server-0", 50.0), ("server-1", 5.0)):
        taken = [(sent, t, n) for (sent, _, d, n), t in zip(sends, times, strict=True) if d == server]
        for begin, _, _ in taken:
            for _, end, _ in taken:
                within = sum(n for sent, t, n in taken if begin <= sent and t <= end)
                assert within <= max(rate * (end - begin), 0) + 1e-6


def test_latency_of_single_links():
    network = Network(None, 1.0, links={("worker-0", "server"): 5.0, ("server-1", "worker-0"): 7.0})
    pairs = [("worker-0", "server-0"), ("worker-1", "server-0"), ("server-1", "worker-0")]
    sends = [(0.0, *pair, 1) for pair in [*pairs, ("server-0", "worker-0")]]
    assert send_all(network, sends) == [5.0, 1.0, 7.0, 1.0]


def test_a_fresh_network_is_idle_and_can_be_placed():
    network = Network(B, ALPHA)
    first = network.arrival(0.0, "worker-0", "server-0", S)
    assert network.arrival(0.0, "worker-0", "server-0", S) > first
    assert network.fresh().arrival(0.0, "worker-0", "server-0", S) == first
    assert network.fresh({"worker-0": "h", "server-0": "h"}).arrival(0.0, "worker-0", "server-0", S) == 0.0
    assert pickle.loads(pickle.dumps(network)) == network == network.fresh()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Network(0),
        lambda: Network(-1.0),
        lambda: Network(float("nan")),
        lambda: Network({"worker": 0.0}),
        lambda: Network(B, -1.0),
        lambda: Network(B, float("inf")),
        lambda: Network(B, links={("a", "b"): float("nan")}),
        lambda: Network({"worker": B}).arrival(0.0, "worker-0", "server-0", S),
    ],
)
def test_wrong_networks_are_refused_with_a_requirement(make):
    with pytest.raises(InvalidJob, match="required: "):
        make()


def test_two_bandwidths_for_one_host_are_refused():
    network = Network({"worker": B, "server": 2 * B}, hosts={"worker-0": "host-0", "server-0": "host-0"})
    network.arrival(0.0, "worker-0", "worker-1", S)
    with pytest.raises(InvalidJob, match="name the host"):
        network.arrival(0.0, "server-0", "worker-1", S)
    named = Network({"host-0": B, "worker": B}, hosts={"worker-0": "host-0", "server-0": "host-0"})
    assert named.arrival(0.0, "server-0", "worker-1", S) == near(S / B)

"""T11: a shard is one first-come-first-served server, closed and open, against queueing theory.

Statistical tests demand theory within Student's confidence interval at 99.9 % of independent seeds, and a
half-width below the percentage named.
"""

import numpy as np
import pytest

import psbook as ps
from tests.theory.programs import ONE, booked, half_width, nothing


def mean_value_analysis(customers, think, service):
    """Throughput and response time of a closed network of a delay and a queue (Reiser & Lavenberg 1980)."""
    waiting = response = throughput = 0.0
    for n in range(1, customers + 1):
        response = service * (1 + waiting)
        throughput = n / (think + response)
        waiting = throughput * response
    return throughput, response


def test_mean_value_analysis_gives_the_listed_values():
    assert mean_value_analysis(10, 1.0, 0.1) == pytest.approx((7.85418, 0.273208), rel=1e-6)


def closed(workers, cycles, think, service, seed=0, trace="off"):
    """Workers that think and pull: throughput while all are there, and the run."""
    times = []

    async def train(worker):
        for _ in range(cycles):
            await worker.compute(nothing)
            await worker.pull("w")
            times.append(worker.now)
        return worker.now

    job = ps.Job(train, tables={"w": ps.Table(1)})
    run = job.run(
        ps.Simulator(workers=workers, compute=think, service=service, seed=seed, trace=trace), ps.ASP()
    )
    together = min(run.results.values())
    first = len(times) // 4
    counted = sum(time <= together for time in times)
    return (counted - first) / (together - times[first - 1]), run


def check_closed(seeds, cycles, percent):
    throughput, _ = mean_value_analysis(10, 1.0, 0.1)
    rates = [closed(10, cycles, ps.Exponential(1.0), ps.Exponential(0.1), seed)[0] for seed in range(seeds)]
    assert half_width(rates) < percent / 100 * throughput
    assert np.mean(rates) == pytest.approx(throughput, abs=half_width(rates))


def test_closed_network_has_the_throughput_of_mean_value_analysis():
    check_closed(seeds=12, cycles=300, percent=7)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_closed_network_within_half_a_percent():
    rates = [closed(10, 2500, ps.Exponential(1.0), ps.Exponential(0.1), seed)[0] for seed in range(10)]
    assert np.mean(rates) == pytest.approx(mean_value_analysis(10, 1.0, 0.1)[0], rel=0.005)


def test_the_response_time_of_mean_value_analysis_is_what_the_workers_book_as_queued():
    responses = []
    for seed in range(10):
        _, run = closed(10, 300, ps.Exponential(1.0), ps.Exponential(0.1), seed, trace="iterations")
        responses.append(sum(booked(run, "queued")) / (10 * 300))
        assert sum(booked(run, "network")) == sum(booked(run, "blocked")) == 0.0
    required = mean_value_analysis(10, 1.0, 0.1)[1]
    assert half_width(responses) < 0.2 * required
    assert np.mean(responses) == pytest.approx(required, abs=half_width(responses))


@pytest.mark.parametrize(("workers", "service"), [(3, 0.25), (4, 0.25), (8, 0.25), (12, 0.125)])
def test_deterministic_closed_network_is_limited_by_its_workers_or_by_its_server(workers, service):
    """min(N/(Z+S), 1/S) after start-up; 2 % for the ends of the window that is counted."""
    rate, _ = closed(workers, 40, 1.0, service)
    assert rate == pytest.approx(min(workers / (1.0 + service), 1 / service), rel=0.02)


def test_service_times_have_luck_of_their_own():
    """Worker 0's compute times and shard 0's service times are independent draws, not one stream used
    twice.
    """
    law = ps.Exponential(1.0)
    _, run = closed(1, 200, law, law, trace="iterations")
    computed = run.trace.of("compute")["duration"].to_numpy()
    served = run.trace.of("queued")["duration"].to_numpy()
    assert len(computed) == len(served) == 200
    assert abs(np.corrcoef(computed, served)[0, 1]) < 4 / np.sqrt(200)


# Open queues: a program that pushes without waiting


def open_queue(gaps, service, seed=0):
    """Push after each gap; return when each push arrived and when it was applied."""

    async def source(worker):
        for gap in gaps:
            await worker.sleep(gap)
            worker.push("w", ONE)

    job = ps.Job(source, tables={"w": ps.Table(1)})
    run = job.run(ps.Simulator(workers=1, service=service, seed=seed), ps.ASP())
    arrived = run.trace.of("receive")
    arrived = arrived[arrived["detail"] == "Push"].set_index("message")["time"]
    applied = run.trace.of("apply").set_index("message")["time"]
    return arrived.to_numpy(), applied[arrived.index].to_numpy()


RHO = 0.5
SERVICES = [
    # M/M/1, M/D/1, M/G/1 by E[S²]/E[S]² (Pollaczek–Khinchine)
    (ps.Exponential(RHO), 2.0),
    (ps.Constant(RHO), 1.0),
    (ps.Gamma(RHO, shape=4.0), 1.25),
]


def poisson(count, seed):
    return np.random.default_rng([seed, 11]).exponential(1.0, count)


@pytest.mark.parametrize("service", [law for law, _ in SERVICES], ids=[law.label for law, _ in SERVICES])
def test_pushes_are_served_first_come_first_served_path_by_path(service):
    """Lindley's recursion, with the service times that were given."""
    arrived, applied = open_queue(poisson(500, 1), service)
    free = 0.0
    starts = np.maximum(arrived, np.concatenate([[0.0], applied[:-1]]))
    served = applied - starts
    assert (served >= -1e-12).all()
    assert served.mean() == pytest.approx(service.mean, abs=4 * max(1e-9, served.std() / np.sqrt(500)))
    for arrival, seconds, departure in zip(arrived, served, applied, strict=True):
        free = max(free, arrival) + seconds
        assert departure == pytest.approx(free, rel=1e-12)


def check_open(service, second_moment, count, seeds, percent):
    """Mean response S + ρ·S·m₂/(2(1−ρ))."""
    required = RHO + RHO * RHO * second_moment / (2 * (1 - RHO))
    means = []
    for seed in range(seeds):
        arrived, applied = open_queue(poisson(count, seed), service, seed)
        means.append(np.mean((applied - arrived)[count // 10 :]))
    assert half_width(means) < percent / 100 * required
    return np.mean(means), required, half_width(means)


@pytest.mark.parametrize(("service", "moment"), SERVICES, ids=[law.label for law, _ in SERVICES])
def test_open_queues_have_the_mean_response_of_pollaczek_and_khinchine(service, moment):
    found, required, width = check_open(service, moment, 1200, 10, 20)
    assert found == pytest.approx(required, abs=width)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("service", "moment"), SERVICES, ids=[law.label for law, _ in SERVICES])
def test_open_queues_within_two_percent(service, moment):
    found, required, _ = check_open(service, moment, 10_000, 12, 5)
    assert found == pytest.approx(required, rel=0.02)

"""One first-come-first-served server: closed and open queues (theory T11)."""

from __future__ import annotations

from typing import NamedTuple

from psbook.errors import InvalidJob
from psbook.experiments.theory.validation import positive, whole


class Closed(NamedTuple):
    """A closed network: throughput in requests a second, response in seconds, queue in requests."""

    throughput: float
    response: float
    queue: float


def closed_queue(customers: int, think: float, service: float) -> Closed:
    """Mean-value analysis of N workers that think and one server, both exponential (T11).

    Parameters
    ----------
    customers : int
        N ≥ 1.
    think, service : float
        Z and S, mean seconds.

    Returns
    -------
    Closed
        From R_N = S(1 + Q_{N−1}), X_N = N/(Z + R_N), Q_N = X_N·R_N, Q_0 = 0 (Reiser and Lavenberg 1980).

    Examples
    --------
    >>> throughput, response, _ = closed_queue(10, 1.0, 0.1)
    >>> round(throughput, 5), round(response, 6)
    (7.85418, 0.273208)
    """
    whole("customers", customers, least=1)
    positive("think", think, "seconds")
    positive("service", service, "seconds")
    throughput = response = queue = 0.0
    for n in range(1, customers + 1):
        response = service * (1 + queue)
        throughput = n / (think + response)
        queue = throughput * response
    return Closed(throughput, response, queue)


def deterministic_throughput(customers: int, think: float, service: float) -> float:
    """Requests a second of the closed queue when nothing varies: min(N/(Z+S), 1/S) after start-up (T11).

    Examples
    --------
    >>> deterministic_throughput(3, 1.0, 0.25), deterministic_throughput(8, 1.0, 0.25)
    (2.4, 4.0)
    """
    whole("customers", customers, least=1)
    positive("service", service, "seconds")
    return min(customers / (think + service), 1 / service)


def open_response(rate: float, service: float, variation: float) -> float:
    """Mean response time of an M/G/1 queue, S + ρS(1 + c²)/(2(1 − ρ)) (Pollaczek and Khinchine; T11).

    Parameters
    ----------
    rate : float
        Requests a second, Poisson.
    service : float
        Mean seconds of service S.
    variation : float
        Squared coefficient of variation c² of the service: 1 exponential (M/M/1), 0 constant (M/D/1),
        1/shape gamma.

    Raises
    ------
    InvalidJob
        If the load ρ = rate · S is not below 1: the queue would grow for ever.

    Examples
    --------
    >>> open_response(1.0, 0.5, variation=1.0), open_response(1.0, 0.5, variation=0.0)
    (1.0, 0.75)
    """
    positive("rate", rate, "requests a second")
    positive("service", service, "seconds")
    load = rate * service
    if load >= 1:
        raise InvalidJob(f"load rate·service = {load:g}; required: < 1, or the queue grows for ever.")
    return service + load * service * (1 + variation) / (2 * (1 - load))

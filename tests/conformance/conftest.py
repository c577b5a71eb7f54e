"""Every scenario of this folder runs on every backend; none may know which."""

import pytest
from distributed import Client, LocalCluster

import psbook as ps


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/conformance" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(scope="session")
def two_processes():
    with (
        LocalCluster(n_workers=2, threads_per_worker=8, memory_limit=0, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def simulator(_, **options):
    return ps.Simulator(**{"compute": ps.Exponential(0.1), **options})


def slow_network(_, **options):
    """Messages of different sizes take different times, shards serve one after the other."""
    network = ps.Network(bandwidth=1e6, latency=0.01)
    made = {"compute": ps.Exponential(0.1), "network": network, "service": ps.Exponential(0.02), **options}
    return ps.Simulator(**made)


def dask(request, **options):
    return ps.Dask(request.getfixturevalue("two_processes"), **options)


def safe_dask(request, **options):
    """With leases, beats and a copy of each shard, if there are servers enough; nothing goes wrong."""
    safety = ps.Safety(replicas=min(1, options.get("servers", 1) - 1))
    return dask(request, **{"safety": safety, **options})


BACKENDS = [
    simulator,
    slow_network,
    pytest.param(dask, marks=pytest.mark.dask),
    pytest.param(safe_dask, marks=[pytest.mark.dask, pytest.mark.slow]),
]


@pytest.fixture(params=BACKENDS, ids=["simulator", "network", "dask", "safe"])
def cluster(request):
    """``cluster(workers=…, servers=…, **options)`` makes a backend."""

    def make(**options):
        return request.param(request, **options)

    return make

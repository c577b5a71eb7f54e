"""A cluster that cannot be used is refused at once, with a remedy."""

import asyncio
import time

import pytest
from distributed import Client, LocalCluster

from psbook.cluster.joining.connect import check_versions, connected, processes
from psbook.errors import ClusterError, InvalidJob

pytestmark = pytest.mark.dask


def test_a_dead_address_is_named_within_seconds():
    began = time.monotonic()
    with (
        pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9 .*dask scheduler"),
        connected("tcp://127.0.0.1:9", 2),
    ):
        pass
    assert time.monotonic() - began < 6


@pytest.mark.parametrize("address", ["nonsense", "foo:bar", "127.0.0.1:99999999"])
def test_a_malformed_address_is_named(address):
    with pytest.raises(ClusterError, match="Check the address"), connected(address, 2):
        pass


def test_an_asynchronous_client_is_refused(client):
    address = client.scheduler.address

    async def use():
        async with Client(address, asynchronous=True) as asynchronous:
            with pytest.raises(InvalidJob, match="synchronous"), connected(asynchronous, 2):
                pass

    asyncio.run(use())


def test_a_closed_client_is_refused(client):
    other = Client(client.scheduler.address, set_as_default=False)
    other.close()
    with pytest.raises(ClusterError, match="closed"), connected(other, 2):
        pass


@pytest.mark.parametrize("scheme", ["tcp://", ""])
def test_an_address_is_connected_and_left_running(client, scheme):
    with connected(scheme + client.scheduler.address.removeprefix("tcp://"), 2) as other:
        assert len(processes(other)) == 2
    assert other.status == "closed"
    assert len(processes(client)) == 2


def test_no_target_starts_processes_and_ends_them():
    with connected(None, 1) as client:
        assert len(processes(client)) == 1
        assert client.cluster is not None
    with (
        pytest.raises(ClusterError),
        connected(client.scheduler.address if client.scheduler else "tcp://x:1", 1),
    ):
        pass


def test_a_cluster_without_workers_is_named():
    with (
        LocalCluster(n_workers=0, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(ClusterError, match="0 workers"),
    ):
        processes(client)


def test_another_version_is_named_with_its_process(client):
    addresses = processes(client)
    check_versions(client, addresses, _version())
    client.run(_pretend, "9.9", workers=addresses[:1])
    try:
        with pytest.raises(ClusterError, match=rf"^{addresses[0]} has psbook 9\.9"):
            check_versions(client, addresses, _version())
    finally:
        client.run(_pretend, _version(), workers=addresses[:1])


def test_missing_psbook_is_named(client):
    addresses = processes(client)
    client.run(_forget, workers=addresses[1:])
    try:
        with pytest.raises(ClusterError, match=rf"^{addresses[1]} has no usable psbook"):
            check_versions(client, addresses, _version())
    finally:
        client.run(_remember, workers=addresses[1:])


def _version():
    import psbook

    return psbook.__version__


def _pretend(version):
    import psbook

    psbook.__version__ = version


def _forget():
    import sys

    sys._psbook = sys.modules["psbook"]
    sys.modules["psbook"] = None


def _remember():
    import sys

    sys.modules["psbook"] = sys._psbook

"""A cluster that other machines can reach without TLS is warned of, once a run; others are not."""

import ipaddress
import socket
import warnings

import dask
import psutil
import pytest
from distributed import Client, LocalCluster

import psbook as ps
from psbook.cluster.joining.encryption import open_to_others, warn_unencrypted
from psbook.errors import ClusterError, UnencryptedCluster

from .commands import Commands
from .jobs import assert_learned, least_squares

pytestmark = pytest.mark.dask


def own_address():
    """Return an address of this machine that others might reach, or skip; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its own")
        address = probe.getsockname()[0]
    return address if not ipaddress.ip_address(address).is_loopback else pytest.skip("no other address")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://10.1.2.3:8786", True),
        ("tcp://[fe80::1]:8786", True),
        ("tcp://machine-7:8786", True),
        ("ws://10.1.2.3:8786", True),
        ("tcp://127.0.0.2:8786", False),
        ("tcp://[::1]:8786", False),
        ("tcp://localhost:8786", False),
        ("tls://10.1.2.3:8786", False),
        ("wss://10.1.2.3:8786", False),
        ("inproc://10.1.2.3/4/5", False),
    ],
)
def test_what_others_can_reach(address, expected):
    assert open_to_others(address) is expected


def test_the_warning_names_a_few_and_counts_the_rest():
    with pytest.warns(UnencryptedCluster, match=r"tcp://10\.0\.0\.1:1, .* and 2 more: .*--tls-cert"):
        warn_unencrypted([f"tcp://10.0.0.{n}:1" for n in range(1, 6)])


def test_a_cluster_that_other_machines_reach_is_warned_of_once_a_run():
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=4, host=own_address(), dashboard_address="127.0.0.1:0",
            memory_limit=0, processes=False, protocol="tcp",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        warnings.catch_warnings(record=True) as said,
    ):  # fmt: skip
        warnings.simplefilter("always")
        for _ in range(2):
            assert_learned(least_squares().run(ps.Dask(client, workers=2), ps.BSP()))
    found = [str(each.message) for each in said if each.category is UnencryptedCluster]
    assert len(found) == 2 and all(own_address() in each for each in found)


def test_a_cluster_of_our_own_listens_to_this_machine_only_and_in_silence():
    others = listening()  # of tests before this one, which may still be closing
    with ps.Dask(workers=2).opened() as backend, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        before = listening() - others
        handle = least_squares(epochs=100_000).start(backend, ps.BSP())
        Commands.until(lambda: handle.iterations >= 10 or handle.done)
        during = listening() - others
        handle.stop()
        with pytest.raises(ps.errors.Stopped):
            handle.result(30)
    assert len(before) >= 3 and len(during) > len(before)
    assert all(ipaddress.ip_address(host).is_loopback for host, _ in during), during
    assert not [each for each in said if each.category is UnencryptedCluster]


def listening():
    """Return where this process and those that it started listen."""
    ours = psutil.Process()
    return {
        (each.laddr.ip, each.laddr.port)
        for process in [ours, *ours.children(recursive=True)]
        for each in process.net_connections(kind="tcp")
        if each.status == psutil.CONN_LISTEN
    }


def test_where_the_configuration_requires_encryption_it_is_there_or_nothing_runs():
    with LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address="127.0.0.1:0") as cluster:
        plain = cluster.scheduler_address
        with dask.config.set({"distributed.comm.require-encryption": True}):
            with pytest.raises(ClusterError, match="encryption required"):
                least_squares().run(ps.Dask(plain), ps.BSP())
            run = least_squares().run(ps.Dask(workers=2), ps.BSP())
    assert_learned(run)
    assert all(address.startswith("tls://") for address in run.meta["processes"])

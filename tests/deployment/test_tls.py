"""A scheduler and workers started by the command line with certificates: whoever has none stays outside."""

import socket
import ssl
import warnings

import dask
import psutil
import pytest
from distributed import Client

import psbook as ps
from psbook.errors import ClusterError

from .certificates import Authority
from .commands import Commands
from .jobs import assert_learned, descend, least_squares

pytestmark = pytest.mark.dask


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def cluster(commands, authority):
    """Address of a scheduler, and its two worker processes; both refuse what is not encrypted."""
    strict = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}
    certificates = authority.arguments("scheduler")
    address = commands.scheduler("--protocol", "tls", "--host", "127.0.0.1", *certificates, **strict)
    workers = [
        commands.dask(
            f"worker-{n}", "worker", address, "--no-nanny", "--no-dashboard", "--nthreads", "4",
            "--memory-limit", "0", "--host", "127.0.0.1", *authority.arguments(f"worker-{n}"), **strict,
        )
        for n in range(2)
    ]  # fmt: skip
    return address, workers


def connected(address, authority):
    client = Client(address, security=authority.security("client"), set_as_default=False, timeout=60)
    client.wait_for_workers(2, timeout=60)
    return client


async def endless(worker):
    while True:
        await descend(worker)


def test_training_end_to_end_in_silence_and_nobody_without_a_certificate_gets_in(cluster, authority):
    address, workers = cluster
    with connected(address, authority) as client, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run = least_squares().run(ps.Dask(client, workers=3, servers=2), ps.SSP(1))
        assert not [each for each in said if issubclass(each.category, ps.errors.UnencryptedCluster)]
        assert_learned(run)
        assert all(process.startswith("tls://") for process in run.meta["processes"])

        job = ps.Job(endless, data=least_squares().data, tables=least_squares().tables, batch_size=20)
        handle = job.start(ps.Dask(client, workers=2, servers=2), ps.ASP())
        Commands.until(lambda: handle.iterations > 20)
        web = set(client.run(lambda dask_worker: dask_worker.http_server.port).values())  # plain, read-only
        ports = {port for worker in workers for port in listening(worker.pid)} - web
        assert len(ports) >= 2
        for port in ports:
            assert_dropped(port, context())
            assert_dropped(port, context(Authority(authority.file.parent, "another").pair("stranger")))
            assert_dropped(port, None)
        before = handle.iterations
        Commands.until(lambda: handle.iterations > before + 20)
        handle.stop()
        with pytest.raises(ps.errors.Stopped):
            handle.result(30)
        assert_learned(least_squares().run(ps.Dask(client, workers=2), ps.BSP()))


def test_a_client_without_certificate_is_refused_by_name(cluster, authority):
    address, _ = cluster
    with pytest.raises(ClusterError, match=r"(?s)certificate.*security="):
        least_squares().run(ps.Dask(address), ps.BSP())
    with pytest.raises(ClusterError, match="no Dask scheduler answers"):
        least_squares().run(ps.Dask(address.replace("tls://", "tcp://")), ps.BSP())
    forged = Authority(authority.file.parent, "another").configuration("forged")
    forged["distributed.comm.tls.ca-file"] = str(authority.file)
    with dask.config.set(forged), pytest.raises(ClusterError, match="no Dask scheduler answers"):
        least_squares().run(ps.Dask(address), ps.BSP())


def test_certificates_of_dasks_configuration_are_found_by_an_address_alone(cluster, authority):
    address, _ = cluster
    connected(address, authority).close()
    with dask.config.set(authority.configuration("configured")):
        assert_learned(least_squares().run(ps.Dask(address, workers=2), ps.BSP()))


def listening(pid):
    """Return the TCP ports at which a process listens: Dask's own, and whatever psbook has opened."""
    connections = psutil.Process(pid).net_connections(kind="tcp")
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}


def context(pair=None):
    """A peer that trusts anybody, and shows a certificate or none."""
    found = ssl.create_default_context()
    found.check_hostname = False
    found.verify_mode = ssl.CERT_NONE
    if pair is not None:
        found.load_cert_chain(*pair)
    return found


def assert_dropped(port, tls):
    """Whatever the peer says, the other side hangs up, after an alert with TLS."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        try:
            with plain if tls is None else tls.wrap_socket(plain) as peer:
                peer.sendall(b"\0" * 64)
                assert tls is None or peer.recv(1) == b""
                while tls is None and peer.recv(64):
                    pass
        except (ConnectionError, ssl.SSLError):
            pass

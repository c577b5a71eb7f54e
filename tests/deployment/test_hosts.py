"""Several hosts with addresses of their own: scheduler, workers and client each on another."""

import pytest

from psbook.trace import Trace
from psbook.trace.statistics import waiting

from . import client
from .hosts import Hosts, missing

pytestmark = [pytest.mark.dask, pytest.mark.slow]

BITS = 10_000_000


@pytest.fixture
def hosts(cleanup):
    if why := missing():
        pytest.skip(why)
    return Hosts(cleanup, "scheduler", "store", "fast", "slow", "user")


@pytest.fixture
def scheduler(hosts, commands):
    """Address of a scheduler with a worker on each of three hosts."""
    address = commands.scheduler(
        "--host", hosts.addresses["scheduler"], within=hosts.within("scheduler")
    )  # fmt: skip
    for name in ("store", "fast", "slow"):
        commands.dask(
            name, "worker", address, "--name", name, "--host", hosts.addresses[name], "--no-nanny",
            "--no-dashboard", "--nthreads", "4", "--memory-limit", "0", within=hosts.within(name),
        )  # fmt: skip
    return address


def test_training_across_hosts_and_the_trace_shows_whose_line_is_slow(hosts, scheduler, commands, tmp_path):
    hosts.limit("slow", BITS)
    user = commands.python(
        "user", "-m", "tests.deployment.client", scheduler, str(tmp_path), within=hosts.within("user")
    )
    assert user.wait(100) == 0, commands.output("user").read_text()
    trace = Trace.load(tmp_path / "trace.parquet")
    machines = {at.split("://")[1].rsplit(":", 1)[0]: nodes for at, nodes in trace.meta["processes"].items()}
    assert machines == {
        hosts.addresses["fast"]: ["worker-0"],
        hosts.addresses["slow"]: ["worker-1"],
        hosts.addresses["store"]: ["server-0"],
    }
    network = waiting(trace).set_index("node")["network"]
    least = client.STEPS * client.WIDTH * 4 * 8 / BITS  # seconds that the values take over the line, one way
    assert network["worker-1"] > least
    assert network["worker-0"] < network["worker-1"]

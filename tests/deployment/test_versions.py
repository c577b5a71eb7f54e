"""A scheduler or worker without psbook, or with another one, is named at once; also one that joins."""

import warnings

import pytest
from distributed import Client

import psbook as ps
from psbook.errors import ClusterError, Stopped, UnusableProcess

from .commands import Commands
from .jobs import descend, least_squares

pytestmark = pytest.mark.dask

WITHOUT = """
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == "psbook":
            raise ModuleNotFoundError("No module named 'psbook'", name="psbook")

sys.meta_path.insert(0, Hide())
"""
"""In a file that Python imports when it starts: this process, and those that it starts, have no psbook."""


@pytest.fixture
def without(tmp_path):
    """Environment of a process in which psbook is not installed."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WITHOUT)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def another(tmp_path):
    """Environment of a process in which another psbook is installed."""
    folder = tmp_path / "another" / "psbook"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('__version__ = "0.0.7"\n')
    return {"PYTHONPATH": str(folder.parent)}


def worker(commands, address, name, *more, **environment):
    arguments = ["--name", name, "--no-dashboard", "--nthreads", "4", "--memory-limit", "0", *more]
    return commands.dask(name, "worker", address, *arguments, **environment)


def connected(address, workers):
    client = Client(address, set_as_default=False, timeout=60)
    client.wait_for_workers(workers, timeout=60)
    return client


def address_of(client, name):
    workers = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    return next((address for address, info in workers.items() if info["name"] == name), None)


def test_a_scheduler_and_workers_without_the_right_psbook_are_named(commands, without, another):
    address = commands.scheduler("--host", "127.0.0.1", **without)
    worker(commands, address, "good", "--no-nanny")
    worker(commands, address, "old", "--no-nanny", **another)
    worker(commands, address, "bare", **without)
    with connected(address, 3) as client, pytest.raises(ClusterError) as caught:
        least_squares().run(ps.Dask(client), ps.BSP())
    said = str(caught.value)
    with Client(address, set_as_default=False) as client:
        assert f"{address_of(client, 'old')} has psbook 0.0.7 on Python" in said
        assert f"{address_of(client, 'bare')} has no usable psbook (ModuleNotFoundError" in said
        assert "the scheduler has no usable psbook" in said
        assert address_of(client, "good") not in said
    assert f"required: psbook {ps.__version__}" in said


async def endless(worker):
    while True:
        await descend(worker)


@pytest.mark.parametrize(
    "safety",
    [
        pytest.param(None, id="plain", marks=pytest.mark.slow),
        pytest.param(ps.Safety(replicas=1, lease=5.0), id="safe"),
    ],
)
def test_workers_that_join_without_it_are_named_live_on_and_disturb_nobody(
    commands, without, another, safety
):
    address = commands.scheduler("--host", "127.0.0.1")
    for name in ("first", "second"):
        worker(commands, address, name, "--no-nanny")
    with connected(address, 2) as client, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        job = ps.Job(endless, data=least_squares().data, tables=least_squares().tables, batch_size=20)
        handle = job.start(ps.Dask(client, workers=2, servers=2, safety=safety), ps.ASP())
        Commands.until(lambda: handle.iterations > 10 or handle.done)
        worker(commands, address, "old", "--no-nanny", **another)
        worker(commands, address, "bare", **without)
        Commands.until(lambda: len(unusable(said)) == 2 or handle.done, lambda: unusable(said))
        before = handle.iterations
        Commands.until(lambda: handle.iterations > before + 10 or handle.done)
        handle.stop()
        with pytest.raises(Stopped):
            handle.result(30)
        old, bare = address_of(client, "old"), address_of(client, "bare")
        assert {address: bool(found) for address, found in client.run(dir, workers=[old, bare]).items()} == {
            old: True, bare: True,
        }  # fmt: skip
        assert_one(unusable(said), old, "has psbook 0.0.7 on Python")
        assert_one(unusable(said), bare, "has no usable psbook (ModuleNotFoundError")
        with pytest.raises(ClusterError, match="no usable psbook"):
            least_squares().run(ps.Dask(client), ps.BSP())


def unusable(said):
    return [str(each.message) for each in said if each.category is UnusableProcess]


def assert_one(messages, address, text):
    found = [message for message in messages if message.startswith(f"{address} joined")]
    assert len(found) == 1 and text in found[0], messages


def test_the_hidden_psbook_is_hidden(commands, without):
    """What the other tests rest on."""
    tried = commands.python("try", "-c", "import psbook", **without)
    assert tried.wait(60) == 1
    assert "No module named 'psbook'" in commands.output("try").read_text()

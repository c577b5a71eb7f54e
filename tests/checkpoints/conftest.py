"""A place to save in, of each kind."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.checkpoints.filesystems import Machine, ObjectStore


@pytest.fixture
def memory() -> Iterator[str]:
    """Return the URL of an empty folder in memory."""
    system = fsspec.filesystem("memory")
    system.makedirs("/saved", exist_ok=True)
    yield "memory://saved"
    system.rm("/saved", recursive=True)


@pytest.fixture
def objects() -> Iterator[str]:
    """Return the URL of an empty object store."""
    ObjectStore.objects.clear()
    yield "objects://bucket/run"
    ObjectStore.objects.clear()


@pytest.fixture(params=["disk", "memory", "objects"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty folder on each kind of filesystem."""
    return str(tmp_path / "saved") if request.param == "disk" else request.getfixturevalue(request.param)


@pytest.fixture
def machine() -> Iterator[type[Machine]]:
    """Return the machine that can die; it lives again after the test."""
    yield Machine
    Machine.left = None

"""Processes and files of one test, taken away after it."""

import faulthandler
from pathlib import Path

import pytest

from .cleanup import Cleanup
from .commands import Commands

SECONDS = 230
"""What a test may take on a machine with other things to do."""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(SECONDS + 10))


@pytest.fixture(autouse=True)
def _time_limit():
    """A test that hangs shows where, and takes its process down instead of the whole suite."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def cleanup():
    with Cleanup() as cleanup:
        yield cleanup


@pytest.fixture
def commands(cleanup, tmp_path):
    commands = Commands(cleanup, tmp_path)
    yield commands
    commands.close()

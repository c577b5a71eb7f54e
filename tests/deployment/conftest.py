"""Processes and files of one test, taken away after it."""

import faulthandler

import pytest

from .cleanup import Cleanup
from .commands import Commands


@pytest.fixture(autouse=True)
def _time_limit():
    """A test that hangs shows where, and takes its process down instead of the whole suite."""
    faulthandler.dump_traceback_later(110, exit=True)
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

"""Exceptions cross processes with their traceback and cause, whatever they are."""

import traceback

import pytest

from psbook.cluster.failures import RemoteError, named, pack, unpack
from psbook.errors import ProgramError, UpdateError


def caught(function):
    try:
        function()
    except Exception as error:  # noqa: BLE001  # that is what it is for
        return error
    raise AssertionError("nothing was raised")


def divide():
    return 1 / 0


def wrapped():
    try:
        divide()
    except ZeroDivisionError as error:
        raise KeyError("outer") from error


class Stubborn(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def raise_stubborn():
    raise Stubborn(1, 2)


def test_traceback_and_cause_survive():
    error = unpack(pack(caught(wrapped)))
    assert isinstance(error, KeyError)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert "in wrapped" in "".join(traceback.format_tb(error.__traceback__))


def test_an_exception_without_pickled_form_keeps_its_words():
    error = unpack(pack(caught(raise_stubborn)))
    assert isinstance(error, RemoteError)
    assert "Stubborn: 1 and 2" in str(error)
    assert "raise_stubborn" in str(error)


@pytest.mark.parametrize("kind", [ProgramError, UpdateError])
def test_named_error_has_the_original_as_cause(kind):
    error = named(kind.__name__, "worker-3 raised", pack(caught(divide)))
    assert type(error) is kind
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert "in divide" in "".join(traceback.format_exception(error))

"""Freed memory is kept while a run goes on, and only then."""

import ctypes
import os
import subprocess
import sys

import pytest

from psbook.cluster.process import allocation

pytestmark = pytest.mark.skipif(allocation._glibc() is None, reason="the C library is not glibc")

COUNT_MAPPED = """
import ctypes, numpy as np
from psbook.cluster.process import allocation

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info

def mapped():
    before = mallinfo2().hblks
    array = np.ones(2_500_000)  # 20 MB: there is no such hole in the heap
    return mallinfo2().hblks - before

print(mapped())
allocation.hold(); allocation.hold()
print(mapped())
allocation.release()
print(mapped())
allocation.release()
print(mapped())
"""


@pytest.mark.skipif(
    not hasattr(allocation._glibc(), "mallinfo2"), reason="glibc is too old to say what it has mapped"
)
def test_arrays_are_mapped_one_by_one_only_while_nobody_holds_memory():
    environment = {**os.environ, allocation.VARIABLE: "65536", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_MAPPED], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "0", "0", "1"]


def test_processes_without_a_nanny_are_left_alone(monkeypatch):
    monkeypatch.delenv(allocation.VARIABLE, raising=False)
    calls = []
    monkeypatch.setattr(allocation, "_set", lambda *arguments: calls.append(arguments))
    allocation.hold()
    allocation.release()
    assert not calls


def test_only_the_first_and_the_last_count(monkeypatch):
    monkeypatch.setenv(allocation.VARIABLE, "65536")
    calls = []
    monkeypatch.setattr(allocation, "_set", lambda *arguments: calls.append(arguments))
    for step in (allocation.hold, allocation.hold, allocation.release, allocation.release):
        step()
    assert calls == [
        (allocation.KEPT_BYTES, allocation.MAPPED_BYTES),
        (65536, allocation.USUAL_MAPPED_BYTES),
    ]


def test_a_c_library_without_these_parameters_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert allocation._glibc.__wrapped__() is None

"""A description is the same in every process and after every run, and differs where the things do."""

import datetime as dt
import functools
import os
import random
import subprocess
import sys
import threading

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import psbook as ps
from psbook.algorithms import logistic_regression
from psbook.experiments.description import describe, difference, fingerprint


def job(**options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)).astype(np.float32)
    return logistic_regression(X, (X[:, 0] > 0).astype(int), batch_size=8, epochs=1, **options)


def scaled(factor):
    def kernel(w, batch):
        return 0.0, factor * w

    return kernel


def test_a_run_leaves_no_mark():
    before = job()
    described = describe(before)
    before.run(ps.Simulator(workers=2), ps.ASP())
    assert describe(before) == described == describe(job())


def marked():
    return fingerprint(describe(job()), describe({"a", "b", "c"}), describe(scaled(2.0)))


def test_the_fingerprint_is_the_same_in_another_process(project):
    code = "from tests.experiments.test_description import marked; print(marked())"
    env = {**os.environ, "PYTHONPATH": str(project), "PYTHONHASHSEED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == marked()


RATE = 0.5


def helper(w):
    return RATE * w


def uses_global(w):
    return [lambda: helper(w)]


def uses_itself(w):
    return uses_itself(w) if w else RATE


class Slots:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Called:
    def __call__(self, w):
        return w


class CalledOtherwise:
    def __call__(self, w):
        return -w


CalledOtherwise.__qualname__ = "Called"


class Node:
    def __init__(self):
        self.next = self


EQUAL = [
    lambda: scaled(2.0), lambda: functools.partial(scaled, 3), lambda: jax.jit(scaled(2.0)),
    lambda: np.arange(3), lambda: sparse.csr_array(np.eye(3)), lambda: pd.DataFrame({"a": [1, 2]}),
    lambda: [1] * 200, lambda: {"b": 1, "a": 2}, lambda: np.random.default_rng(3),
    lambda: ps.Exponential(0.1).slow({0: 2.0}), lambda: jax.numpy.ones(2), Node,
    lambda: Slots({"a": 1}), Called, threading.Lock,
    lambda: np.array([None, "x"], object), lambda: Node().__init__,
]  # fmt: skip


@pytest.mark.parametrize("make", EQUAL)
def test_equal_things_have_equal_descriptions_without_addresses(make):
    described = describe(make())
    assert described == describe(make())
    assert not any(" at 0x" in text for text in described.values())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (scaled(2.0), scaled(3.0)),
        (lambda w: w + 1, lambda w: w + 2),
        (lambda w: w + 1, lambda w: w - 1),
        (lambda w, k=1: w, lambda w, k=2: w),
        (functools.partial(scaled, 1), functools.partial(scaled, 2)),
        (jax.jit(scaled(2.0)), jax.jit(scaled(3.0))),
        (np.zeros(3), np.zeros((3, 1))),
        (np.zeros(3), np.zeros(3, np.float32)),
        (np.zeros(3), np.ones(3)),
        (sparse.eye_array(3), 2 * sparse.eye_array(3)),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        ([1] * 200, [1] * 199 + [2]),
        ({"a": 1}, {"a": 1.0}),
        ("1", 1),
        (b"a", b"b"),
        ({1, 2}, {1, 3}),
        (ps.Exponential(0.1), ps.Exponential(0.2)),
        (ps.SSP(1), ps.SSP(1, gate="clock")),
        (max, min),
        (Slots(1), Slots(2)),
        (Called(), CalledOtherwise()),
        (random.Random(1), random.Random(2)),
        (dt.date(2020, 1, 1), dt.date(2020, 1, 2)),
    ],
)
def test_different_things_differ(one, other):
    assert fingerprint(describe(one)) != fingerprint(describe(other))
    assert difference(describe(one), describe(other))


def test_globals_that_a_function_names_count(monkeypatch):
    before = describe(uses_global), describe(uses_itself)
    assert before[0]["global helper.global RATE"] == "0.5"
    monkeypatch.setitem(globals(), "RATE", 0.6)
    assert before[0] != describe(uses_global) and before[1] != describe(uses_itself)
    monkeypatch.undo()
    assert before == (describe(uses_global), describe(uses_itself))
    monkeypatch.setitem(globals(), "helper", lambda w: w)
    assert before[0] != describe(uses_global)


def test_what_is_left_out_does_not_count():
    one, other = ps.Simulator(seed=1, trace="off"), ps.Simulator(seed=2)
    assert describe(one, "cluster", ["seed", "trace"]) == describe(other, "cluster", ["seed", "trace"])
    assert describe(one, "cluster") != describe(other, "cluster")

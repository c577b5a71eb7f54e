"""Kernels travel by name where they can, so that all programs of a process share what was compiled."""

import pickle

import cloudpickle
import jax
import numpy as np

from psbook.kernels import compilations, compiled, logistic


def test_a_kernel_of_a_module_travels_by_name():
    assert pickle.loads(pickle.dumps(logistic)) is logistic


def test_a_kernel_that_no_module_holds_travels_by_value():
    def triple(x):
        return 3 * x

    kernel = cloudpickle.loads(cloudpickle.dumps(compiled(triple)))
    assert kernel(np.float32(2)) == 6


def test_kernels_can_be_mapped_and_differentiated():
    @compiled
    def square(x):
        return x * x

    assert jax.grad(square)(3.0) == 6.0
    assert jax.vmap(square)(np.arange(3.0)).tolist() == [0.0, 1.0, 4.0]
    assert compilations()[square.__wrapped__.__qualname__] >= 1

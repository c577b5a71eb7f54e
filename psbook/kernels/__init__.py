"""Numerical kernels in JAX: losses with their gradients, padding, evaluation.

A kernel is a pure function ``kernel(w, *batch) -> (loss, gradient)``; it knows nothing of workers, servers
or clocks. Everything is float32 unless JAX's x64 mode is on; each kernel states its accuracy.
"""

from psbook.kernels.compiling import compilations, compiled
from psbook.kernels.logistic import logistic
from psbook.kernels.metrics import accuracy, auc, log_loss, probabilities
from psbook.kernels.padding import Padding, SparseBatch, bucket, pad
from psbook.kernels.softmax import softmax
from psbook.kernels.sparse import logistic_sparse, logistic_sparse_padded, warm_up

__all__ = [
    "Padding",
    "SparseBatch",
    "accuracy",
    "auc",
    "bucket",
    "compilations",
    "compiled",
    "log_loss",
    "logistic",
    "logistic_sparse",
    "logistic_sparse_padded",
    "pad",
    "probabilities",
    "softmax",
    "warm_up",
]

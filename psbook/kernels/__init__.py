"""Numerical kernels, in JAX but for one: losses with their gradients, padding, evaluation.

A kernel is a pure function ``kernel(w, *batch) -> (loss, gradient)``; it knows nothing of workers, servers
or clocks. Everything is float32 unless JAX's x64 mode is on; each kernel states its accuracy.
"""

from psbook.kernels.compiling import compilations, compiled
from psbook.kernels.logistic import logistic
from psbook.kernels.metrics import accuracy, auc, log_loss, probabilities
from psbook.kernels.padding import Padding, SparseBatch, bucket, pad
from psbook.kernels.softmax import softmax
from psbook.kernels.sparse import logistic_sparse, logistic_sparse_padded, warm_up
from psbook.kernels.sparse_blocks import SparseBlock, SparseBlocks
from psbook.kernels.sparse_host import logistic_block

__all__ = [
    "Padding",
    "SparseBatch",
    "SparseBlock",
    "SparseBlocks",
    "accuracy",
    "auc",
    "bucket",
    "compilations",
    "compiled",
    "log_loss",
    "logistic",
    "logistic_block",
    "logistic_sparse",
    "logistic_sparse_padded",
    "pad",
    "probabilities",
    "softmax",
    "warm_up",
]

"""Programs: each algorithm one file that reads like its paper, over the same few calls."""

from psbook.algorithms.elastic_averaging import ElasticAveraging
from psbook.algorithms.logistic_regression import logistic_regression, softmax_regression
from psbook.algorithms.sparse_logistic_regression import SparseLogisticRegression, sparse_logistic_regression
from psbook.algorithms.worker_threads import Hogwild, Merged

__all__ = [
    "ElasticAveraging",
    "Hogwild",
    "Merged",
    "SparseLogisticRegression",
    "logistic_regression",
    "softmax_regression",
    "sparse_logistic_regression",
]

"""Programs: each algorithm one file that reads like its paper, over the same few calls."""

from psbook.algorithms.elastic_averaging import ElasticAveraging
from psbook.algorithms.logistic_regression import logistic_regression, softmax_regression

__all__ = ["ElasticAveraging", "logistic_regression", "softmax_regression"]

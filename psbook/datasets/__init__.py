"""Data: sets that scikit-learn ships, readers for files, a generator. All return float32 rows.

Labels of two classes are 0 and 1; -1/+1 in a file is mapped. Nothing here touches the network.
"""

from psbook.datasets.bundled import load_breast_cancer, load_digits
from psbook.datasets.preparation import add_bias, hold_out, standardise
from psbook.datasets.reading import read
from psbook.datasets.synthetic import make_classification_sparse

__all__ = [
    "add_bias",
    "hold_out",
    "load_breast_cancer",
    "load_digits",
    "make_classification_sparse",
    "read",
    "standardise",
]

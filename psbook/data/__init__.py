"""Data: rows in memory, split among workers; or partitions, read where they are trained on.

Rows are an array (numpy, JAX, pandas), a scipy sparse matrix, a list of any objects, or a tuple or dict of
these whose first axes are equally long. What comes out has the structure of what went in.
"""

from psbook.data.accepting import accepted
from psbook.data.batching import batches
from psbook.data.ordering import order
from psbook.data.partition import Partition
from psbook.data.partitions import Partitions
from psbook.data.portion import Portion
from psbook.data.reading import read
from psbook.data.splitting import split
from psbook.data.stream import Stream, whole
from psbook.data.structure import join, rows, take

__all__ = [
    "Partition",
    "Partitions",
    "Portion",
    "Stream",
    "accepted",
    "batches",
    "join",
    "order",
    "read",
    "rows",
    "split",
    "take",
    "whole",
]

"""Driver 2: Dask. Shards in a worker plugin, the controller in a scheduler plugin, programs as tasks."""

from psbook.cluster.dask import Dask

__all__ = ["Dask"]

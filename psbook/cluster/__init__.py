"""Driver 2: Dask. Shards in a worker plugin, the controller in a scheduler plugin, programs as tasks."""

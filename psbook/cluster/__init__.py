"""A real Dask cluster: the same programs and the same core as on the simulator, in real time."""

from psbook.cluster.dask import Dask
from psbook.cluster.finding import FoundJob, find_job, jobs
from psbook.cluster.kept.serving import Served, served, unpublish

__all__ = ["Dask", "FoundJob", "Served", "find_job", "jobs", "served", "unpublish"]

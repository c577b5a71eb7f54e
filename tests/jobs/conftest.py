"""The cluster of two processes of tests/cluster, and its check of what a run leaves there."""

from tests.cluster.conftest import _time_limit, clean, client  # noqa: F401

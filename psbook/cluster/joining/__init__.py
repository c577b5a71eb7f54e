"""Reach a cluster, or start one here; see that every process can run psbook, and who else may listen."""

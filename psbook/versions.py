"""Versions that a run's trace names, so that it can be told what made it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

VERSION = "0.1.0"
"""Version of psbook; every process of a run must have the same."""


@cache
def versions() -> dict[str, str]:
    """Return the versions of psbook and of the libraries that numbers depend on."""
    found = {}
    for package in ("psbook", "numpy", "jax", "dask", "distributed"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found

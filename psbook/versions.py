"""Versions that a run's trace names, so that it can be told what made it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


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

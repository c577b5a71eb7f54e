"""What every test shares: a head-less, single-device, reproducible world."""

import os
from pathlib import Path

# Before anything imports matplotlib or JAX: both read their platform once.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import pytest
from hypothesis import HealthCheck, settings

# Examples derive from the test's own text, so a failure today is a failure tomorrow. Times are not
# judged: machines are shared, and the first call of a kernel compiles.
settings.register_profile(
    "default", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=1000)
settings.load_profile("default")


@pytest.fixture(scope="session")
def project() -> Path:
    """Return the root of the project's files."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of larger public data sets that ``PSBOOK_DATA`` names, or skip the test by name."""
    named = os.environ.get("PSBOOK_DATA")
    if not named:
        pytest.skip("PSBOOK_DATA is not set: it names the folder of the larger public data sets")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"PSBOOK_DATA={named} is not a folder")
    return folder

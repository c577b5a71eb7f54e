"""The offset between two clocks lies within the error that is said."""

import asyncio
import time

import numpy as np
import pytest

from psbook.cluster.timing import measure_offset


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ahead", [-3.0, 0.0, 100.0])
def test_offset_is_within_its_error_for_any_delays(seed, ahead):
    rng = np.random.default_rng(seed)

    async def ask():
        await asyncio.sleep(rng.uniform(0, 0.004))
        theirs = time.monotonic() + ahead
        await asyncio.sleep(rng.uniform(0, 0.004))
        return theirs

    offset, error = asyncio.run(measure_offset(ask))
    assert abs(offset - ahead) <= error
    assert error < 0.006

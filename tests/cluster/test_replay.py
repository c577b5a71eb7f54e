"""A run on Dask, replayed here from its trace."""

import numpy as np
import pytest

import psbook as ps
from psbook.simulator.replay import replay
from tests.compiled.comparing import JOBS

pytestmark = pytest.mark.dask


@pytest.mark.parametrize("model", [ps.BSP(), ps.SSP(1), ps.ASP(), ps.KSync(2)], ids=lambda model: model.label)
def test_a_run_on_a_real_cluster(client, clean, model):
    job = JOBS["plain"]
    run = job.run(ps.Dask(client, workers=3, servers=2, compute=ps.Exponential(0.01)), model)
    np.testing.assert_array_equal(replay(job, run.trace)["w"], run.tables["w"])

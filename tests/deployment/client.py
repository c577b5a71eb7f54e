"""A user's process on a host of its own: ``python -m tests.deployment.client ADDRESS FOLDER``."""

import sys
import warnings
from pathlib import Path

import numpy as np
from distributed import Client

import psbook as ps

from .jobs import assert_learned, least_squares

WIDTH = 50_000
STEPS = 8


async def travel(worker):
    """Pull and push much, compute nothing."""
    for _ in range(STEPS):
        w = await worker.pull("w")
        await worker.push("w", np.ones_like(w))
        await worker.clock()
    await worker.sleep(0.0)


def main(address, folder):
    with Client(address, set_as_default=False, timeout=60) as client:
        client.wait_for_workers(3, timeout=60)
        found = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
        at = {info["name"]: address for address, info in found.items()}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert_learned(least_squares().run(ps.Dask(client, workers=3, servers=2), ps.SSP(2)))
        assert len([each for each in said if each.category is ps.errors.UnencryptedCluster]) == 1
        job = ps.Job(travel, tables={"w": ps.Table(WIDTH)})
        placement = {"worker-0": at["fast"], "worker-1": at["slow"], "server-0": at["store"]}
        run = job.run(ps.Dask(client, workers=2, placement=placement), ps.ASP())
        np.testing.assert_array_equal(run.tables["w"], 2.0 * STEPS)
        run.trace.save(folder / "trace.parquet")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

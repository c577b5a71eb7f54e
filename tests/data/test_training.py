"""Every kind of data trains the same model as the same rows in memory do."""

import dask
import numpy as np
import pytest

import psbook as ps
from psbook.errors import DataError, InvalidJob
from tests.data.rows import KINDS, job, shards


@pytest.mark.parametrize("kind", KINDS)
def test_in_the_simulator_it_trains_as_in_memory(kind, tmp_path):
    cluster = ps.Simulator(workers=2, seed=4)
    expected = job(shards()).run(cluster, ps.SSP(1)).tables["w"]
    assert np.abs(expected).max() > 0.1
    found = job(KINDS[kind](tmp_path)).run(cluster, ps.SSP(1)).tables["w"]
    assert found.tolist() == expected.tolist()


def test_more_partitions_than_workers_are_their_rows_where_nothing_is_shuffled():
    parts = [(X[:7], y[:7]) for X, y in shards(6)]

    def run(data):
        return job(data, shuffle=False).run(ps.Simulator(workers=2), ps.BSP()).tables["w"]

    joined = [tuple(map(np.concatenate, zip(*parts[k::2], strict=True))) for k in range(2)]
    assert run(ps.Partitions(parts)).tolist() == run(joined).tolist()


def test_a_loop_compiles_on_its_first_batch_and_runs_message_by_message():
    loop = ps.Loop(kernel=lambda w, batch: (0.0, batch.sum(axis=0)))
    lazy = [dask.delayed(np.full)((4, 2), k) for k in range(3)]

    def run(data):
        return ps.Job(loop, tables={"w": ps.Table(2)}, data=data, batch_size=2).run(
            ps.Simulator(workers=3, trace="iterations"), ps.BSP()
        )

    run_lazy, run_here = run(lazy), run([np.full((4, 2), k) for k in range(3)])
    assert run_lazy.tables["w"].tolist() == run_here.tables["w"].tolist() == [12.0, 12.0]
    assert "partition by partition" in str(run_lazy.trace.meta)


def test_the_whole_shard_can_be_asked_for():
    async def program(worker):
        return [part.shape for part in worker.data]

    found = ps.Job(program, tables={"w": ps.Table(1)}, data=ps.Partitions(shards(6)))
    assert found.run(ps.Simulator(workers=2)).results["worker-1"] == [(60, 5), (60,)]


def test_a_worker_that_is_lost_goes_on_where_it_was():
    job_ = job(ps.Partitions(shards(6)))
    safe = {"safety": ps.Safety(replicas=1), "servers": 2, "workers": 2, "seed": 1}
    calm = job_.run(ps.Simulator(**safe), ps.BSP())
    crash = ps.Faults(ps.Crash("worker-1", at=1.0, restart=0.5))
    lost = job_.run(ps.Simulator(**safe, faults=crash), ps.BSP())
    assert (lost.trace.frame.kind == "restart").sum() == 1
    assert lost.tables["w"] == pytest.approx(calm.tables["w"], rel=1e-5)


def test_too_few_partitions_are_named_before_anything_runs():
    with pytest.raises(InvalidJob, match="2 partitions for 3 workers"):
        job(ps.Partitions(shards())).run(ps.Simulator(workers=3))


def test_a_partition_that_cannot_be_read_ends_the_run_by_its_name(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("1,2\n3,x\n")
    with pytest.raises(DataError, match=r"rows.csv: line 2, column '1': 'x'"):
        job(str(path)).run(ps.Simulator(workers=1))

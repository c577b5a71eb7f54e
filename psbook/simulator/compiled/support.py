"""Which jobs the compiled engine can run, and why it cannot run others."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from psbook.core.consistency import BackupWorkers, Consistency, KAsync, KBatchAsync, KBatchSync, KSync
from psbook.core.keys import KeyRange
from psbook.data import Partitions
from psbook.errors import PsbookError
from psbook.job import Job
from psbook.laws.option import law_option
from psbook.loop import Loop
from psbook.simulator.compiled.batches import leaves
from psbook.simulator.compiled.numbers import gradients
from psbook.simulator.compiled.timing import gates
from psbook.table import Table

ROUNDS = (KSync, KBatchSync, KAsync, KBatchAsync, BackupWorkers)

MOST_SIZES = 8
"""Different sizes of batches that are compiled for."""


def why_not(job: Job, cluster: Any, model: Consistency) -> str:
    """Say why a run has to be simulated message by message; empty if it need not.

    Parameters
    ----------
    job, model
        What would run.
    cluster
        A `psbook.Simulator`.

    Examples
    --------
    >>> import psbook as ps
    >>> async def train(worker):
    ...     pass
    >>> why_not(ps.Job(train, tables={"w": ps.Table(1)}), ps.Simulator(), ps.BSP())
    'the program is a coroutine, not a Loop'
    """
    return _of_cluster(cluster) or _of_model(job, cluster, model) or _of_program(job)


def _of_cluster(cluster: Any) -> str:
    law = law_option("compute", cluster.compute)
    if law is not None and law.measured:
        return "compute times are measured"
    if cluster.faults:
        return "faults are injected"
    if cluster.safety is not None and cluster.safety.active:
        return "messages are made safe"
    if cluster.checkpoints is not None:
        return "checkpoints are taken"
    if cluster.service:
        return "requests queue at the servers"
    if cluster.hosts is not None:
        return "workers share the cores of their hosts"
    network = cluster.network
    if network is None:
        return ""
    if not network.unlimited:
        return "messages queue in the network"
    if network.links:
        return "links have latencies of their own"
    if network.latency and (network.hosts or cluster.placement == "together"):
        return "nodes on one host have no latency between them"
    return ""


def _of_model(job: Job, cluster: Any, model: Consistency) -> str:
    if gates(model) is not None:
        return ""
    if type(model) not in ROUNDS:
        return f"what {model.label} waits for is not known before the run"
    if cluster.network is not None and cluster.network.latency:
        return f"under {model.label} latencies decide whose gradient is late"
    if isinstance(job.program, Loop) and (job.program.n_fetch, job.program.n_push) != (1, 1):
        return f"{model.label} with a loop that does not read and push in every iteration"
    return ""


def _of_program(job: Job) -> str:
    loop = job.program
    if type(loop) is not Loop:
        return "the program is a coroutine, not a Loop"
    if job.saved is not None:
        return "the run goes on from a checkpoint"
    if job.nonfinite == "skip":
        return "pushes that are not finite are to be left out"
    if job.data is None:
        return "the job has no data"
    if isinstance(job.data, Partitions):
        return "the data is read partition by partition"
    if len(set(loop.pushed)) < len(loop.pushed):
        return "the loop pushes to a table twice"
    try:
        hash(loop)
    except TypeError as error:
        return f"the kernel cannot be told from others ({error})"
    for name in dict.fromkeys((*loop.pulled, *loop.pushed)):
        if name not in job.tables:
            return f"the loop names a table {name!r} that the job lacks"
        why = _of_table(name, job.tables[name])
        if why:
            return why
    return _of_kernel(job, loop)


def _of_table(name: str, table: Table) -> str:
    if table.is_sparse:
        return f"table {name!r} is sparse"
    if table.cache:
        return f"table {name!r} is cached by the workers"
    if jax.dtypes.canonicalize_dtype(table.dtype) != table.dtype:
        return f"table {name!r} is of {table.dtype}, which JAX has not switched on (jax_enable_x64)"
    return ""


def _of_kernel(job: Job, loop: Loop) -> str:
    """Trace the kernel and the update functions with one row of data."""
    shards = job.data if isinstance(job.data, list) else [job.data]
    try:
        for shard in shards:
            if not all(_fits(array) for array in leaves(shard)):
                return "there are whole numbers in the data that JAX has no dtype for (jax_enable_x64)"
    except PsbookError as error:
        return str(error).partition(";")[0]
    some = jax.tree.map(lambda array: np.asarray(array[:1]), shards[0])
    rows = {name: job.tables[name].initial(KeyRange(0, job.tables[name].size), 0) for name in loop.pulled}
    try:
        _, pushed = jax.eval_shape(lambda rows, batch: gradients(loop, job.tables, rows, batch), rows, some)
    except Exception as error:  # noqa: BLE001  # a kernel may raise anything; it then runs message by message
        return (
            f"JAX cannot trace the kernel ({type(error).__name__}: {str(error).partition(chr(10))[0][:120]})"
        )
    for name, grad in pushed.items():
        update = job.tables[name].update

        def apply(value: Any, update: Any = update) -> Any:
            known = {"staleness": np.float32(0), "read": value}
            wanted = {need: known[need] for need in update.needs}
            return update.apply(jax.numpy, value, update.init(jax.numpy, value), value, **wanted)

        try:
            jax.eval_shape(apply, grad)
        except Exception as error:  # noqa: BLE001  # the user's code, as above
            return f"JAX cannot trace {update!r} of table {name!r} ({type(error).__name__})"
    return ""


def _fits(array: Any) -> bool:
    """Whether JAX, which may have 32 bits only, holds an array's whole numbers."""
    held = jax.dtypes.canonicalize_dtype(array.dtype)
    if held == array.dtype or array.dtype.kind not in "iu" or not array.size:
        return True
    known = np.iinfo(held)
    return bool(known.min <= array.min() and array.max() <= known.max)

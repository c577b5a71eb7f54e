"""The ledger of staleness: what is conserved in every run, whatever the times, the delays and the model.

A gradient is *in flight* on a shard from the row "answer" of the pull it was computed from until its row
"apply". Each update that comes in between adds one to its age, which becomes its staleness when it is
applied. So at every instant, per shard and table, in exact integers:

    Σ staleness of the applied + Σ (version now − version read) of those in flight
        = Σ over the updates of the number of *other* gradients in flight at that update.

The left side is what the shard wrote down, the right side is counted from the order of the rows alone.

The pushes of a BSP round are one update; they are not "other" to one another. A pull that feeds several
pushes makes as many gradients, one that feeds none makes none. A push computed from no read is no gradient,
yet its update is crossed by all that are in flight.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from psbook.errors import DataError
from psbook.trace.statistics import documented, require
from psbook.trace.trace import Trace

IntArray: TypeAlias = npt.NDArray[np.int64]

COLUMNS: dict[str, str] = {
    "time": "when it happened [s]",
    "event": "answer: a gradient's pull was answered; apply: an update was applied",
    "node": "shard",
    "table": "table",
    "version": "version of the table on the shard afterwards, by its updates [updates]",
    "in_flight": "gradients in flight afterwards",
    "applied": "sum of the staleness of all gradients applied so far [updates]",
    "ages": "sum of version now − version read over the gradients in flight [updates]",
    "crossings": "sum over the updates so far of the other gradients in flight at each",
    "difference": "applied + ages − crossings: 0 if staleness is conserved",
}
"""Columns of `ledger`."""


def ledger(trace: Trace) -> pd.DataFrame:
    """One row an event, per shard and table: an update, or an answer that a gradient is computed from.

    Between events nothing in the ledger changes, so a difference of 0 in every row is one at every instant.

    Returns
    -------
    DataFrame
        Columns as in `COLUMNS`, all sums int64; in the order of the trace.

    Raises
    ------
    DataError
        If the trace is not of level "full", or a push names a pull that its shard did not answer before.
    """
    require(trace, "the ledger of staleness", "answer", "apply")
    applies = trace.of("apply")
    gradients = _gradients(trace, applies)
    parts = [
        _of_shard(trace, rows, gradients[gradients["push"].isin(rows.index)])
        for _, rows in applies.groupby(["node", "table"], sort=False, observed=True)
    ]
    frame = pd.concat(parts).sort_index() if parts else pd.DataFrame(columns=list(COLUMNS))
    return documented(frame, COLUMNS)


def conserved(trace: Trace) -> tuple[bool, str]:
    """Return whether staleness is conserved at every instant, and why, in a sentence.

    Raises
    ------
    DataError
        If the trace is not of level "full".

    Examples
    --------
    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> for pull in ("r0.0/w/s0#0", "r1.0/w/s0#0"):
    ...     recorder.add(0.0, "server-0", "answer", table="w", version=0, message=pull)
    >>> recorder.add(1.0, "server-0", "apply", table="w", version=1, staleness=0, cause="r0.0/w/s0#0")
    >>> recorder.add(2.0, "server-0", "apply", table="w", version=2, staleness=1, cause="r1.0/w/s0#0")
    >>> conserved(recorder.trace({}))
    (True, '2 updates, 2 gradients: staleness 1 = crossings 1 on every shard and table, at every instant')
    """
    require(trace, "the ledger of staleness", "answer", "apply")
    try:
        frame = ledger(trace)
    except DataError as error:
        return False, str(error)
    broken = frame[frame["difference"] != 0]
    if len(broken):
        row = broken.iloc[0]
        return False, (
            f"at {row['time']:g} s ({row['event']}), version {row['version']} of {row['table']} on "
            f"{row['node']}: staleness {row['applied']} of the applied + ages {row['ages']} of those in "
            f"flight is not {row['crossings']}, the crossings"
        )
    last = frame.groupby(["node", "table"], observed=True)[["applied", "crossings"]].last().sum()
    updates = int((frame["event"] == "apply").sum())
    gradients = int((trace.of("apply")["cause"] != "").sum())
    return True, (
        f"{updates} updates, {gradients} gradients: staleness {last['applied']} = crossings "
        f"{last['crossings']} on every shard and table, at every instant"
    )


def _gradients(trace: Trace, applies: pd.DataFrame) -> pd.DataFrame:
    """One row a gradient: positions in the trace of its push and of the answer, version read, staleness."""
    answers = trace.of("answer")[["node", "table", "message", "version"]].reset_index(names="answer")
    pushes = applies.loc[applies["cause"] != "", ["node", "peer", "table", "message", "cause", "staleness"]]
    found = pushes.reset_index(names="push").merge(
        answers.drop_duplicates(["node", "table", "message"]).rename(columns={"version": "read"}),
        how="left", left_on=["node", "table", "cause"], right_on=["node", "table", "message"],
        suffixes=("", "_pull"),
    )  # fmt: skip
    orphans = found[~(found["answer"] < found["push"])]
    if len(orphans):
        row = orphans.iloc[0]
        raise DataError(
            f"{row['node']} applied push {row['message']} of {row['peer']}, computed from pull "
            f"{row['cause']}, which it had not answered; required: the row of that answer before the update. "
            "The trace is incomplete, or the protocol is broken."
        )
    return found[["push", "answer", "read", "staleness"]].astype(np.int64)


def _of_shard(trace: Trace, applies: pd.DataFrame, gradients: pd.DataFrame) -> pd.DataFrame:
    """Keep the books of one table on one shard; indexed by the position of each event in the trace."""
    versions = applies["version"].to_numpy()
    first = np.flatnonzero(np.r_[True, versions[1:] != versions[:-1]])  # of a round, which is one update
    updates = applies.index.to_numpy()[first]
    answers, push = gradients["answer"].to_numpy(), gradients["push"].to_numpy()
    events = np.union1d(updates, answers)
    is_update = np.isin(events, updates)
    done = np.cumsum(is_update)
    version = np.r_[versions[0] - 1, versions[first]][done]
    begin = np.searchsorted(events, answers)
    end = np.searchsorted(events, updates[np.searchsorted(updates, push, side="right") - 1])

    def so_far(at: IntArray, amounts: IntArray) -> IntArray:
        """Sum of the amounts up to each event."""
        total = np.zeros(len(events), dtype=np.int64)
        np.add.at(total, at, amounts)
        return np.cumsum(total)

    one, read = np.ones_like(push), gradients["read"].to_numpy()
    in_flight = so_far(begin, one) - so_far(end, one)
    applied = so_far(end, gradients["staleness"].to_numpy())
    ages = version * in_flight - (so_far(begin, read) - so_far(end, read))
    crossings = np.cumsum(np.where(is_update, in_flight, 0))
    books = {
        "version": version, "in_flight": in_flight, "applied": applied, "ages": ages, "crossings": crossings,
        "difference": applied + ages - crossings,
    }  # fmt: skip
    frame = trace.frame.loc[events, ["time", "kind", "node", "table"]].rename(columns={"kind": "event"})
    return frame.assign(**books)

"""The ledger of staleness: what is conserved in every run, whatever the times, the delays and the model.

A gradient is *in flight* on a shard from the row "answer" of the pull it was computed from until its row
"apply". Each update that comes in between adds one to its age, which becomes its staleness when it is applied.
So at every instant, per shard and table, in exact integers:

    Σ staleness of the applied + Σ (version now − version read) of those in flight
        = Σ over the updates of the number of *other* gradients in flight at that update.

The left side is what the shard wrote down, the right side is counted from the order of the rows alone.

The pushes of a BSP round are one update; they are not "other" to one another. A pull that feeds several
pushes makes as many gradients, one that feeds none makes none. A push computed from no read is no gradient, yet
its update is crossed by all that are in flight.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from psbook.errors import DataError
from psbook.trace.statistics import documented, require
from psbook.trace.trace import Trace

COLUMNS: dict[str, str] = {
    "time": "when the update was applied [s]",
    "node": "shard",
    "table": "table",
    "version": "version of the table on the shard afterwards [updates]",
    "in_flight": "gradients in flight afterwards",
    "applied": "sum of the staleness of all gradients applied so far [updates]",
    "ages": "sum of version now − version read over the gradients in flight [updates]",
    "crossings": "sum over the updates so far of the other gradients in flight at each",
    "difference": "applied + ages − crossings: 0 if staleness is conserved",
}
"""Columns of `ledger`."""


def ledger(trace: Trace) -> pd.DataFrame:
    """One row an update, per shard and table; between updates nothing in the ledger changes.

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
        _of_shard(rows, gradients[gradients["push"].isin(rows.index)])
        for _, rows in applies.groupby(["node", "table"], sort=False, observed=True)
    ]
    frame = pd.concat(parts).sort_index() if parts else pd.DataFrame(columns=list(COLUMNS))
    return documented(frame, COLUMNS)


def conserved(trace: Trace) -> tuple[bool, str]:
    """Return whether staleness is conserved at every update, and why, in a sentence.

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
    (True, '2 updates, 2 gradients: staleness 1 = crossings 1 on every shard and table, at every update')
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
            f"at {row['time']:g} s, version {row['version']} of {row['table']} on {row['node']}: staleness of "
            f"the applied {row['applied']} + ages in flight {row['ages']} is not the {row['crossings']} crossings"
        )
    last = frame.groupby(["node", "table"], observed=True)[["applied", "crossings"]].last().sum()
    gradients = int((trace.of("apply")["cause"] != "").sum())
    return True, (
        f"{len(frame)} updates, {gradients} gradients: staleness {last['applied']} = crossings "
        f"{last['crossings']} on every shard and table, at every update"
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
            f"{row['node']} applied push {row['message']} of {row['peer']}, computed from pull {row['cause']}, "
            "which it had not answered; required: the row of that answer before the update. The trace is "
            "incomplete, or the protocol is broken."
        )
    return found[["push", "answer", "read", "staleness"]].astype(np.int64)


def _of_shard(rows: pd.DataFrame, gradients: pd.DataFrame) -> pd.DataFrame:
    """Keep the books of one table on one shard; indexed by the position of each update's first row."""
    version = rows["version"].to_numpy()
    first = np.flatnonzero(np.r_[True, version[1:] != version[:-1]])
    updates = rows.iloc[first]
    position, count = updates.index.to_numpy(), len(first)
    read, stale = gradients["read"].to_numpy(), gradients["staleness"].to_numpy()
    # A gradient is crossed by the updates since[g], …, until[g] − 1; the last of its own round is until[g].
    since = np.searchsorted(position, gradients["answer"].to_numpy())
    until = np.searchsorted(position, gradients["push"].to_numpy(), side="right") - 1

    def sums(at: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """Sum of the amounts at each update so far, in integers."""
        total = np.zeros(count + 1, dtype=np.int64)
        np.add.at(total, at, amounts)
        return np.cumsum(total)[:count]

    ones = np.ones_like(read)
    in_flight = sums(since, ones) - sums(until, ones)
    books = {
        "in_flight": in_flight,
        "applied": sums(until, stale),
        "ages": version[first] * in_flight - (sums(since, read) - sums(until, read)),
        "crossings": np.cumsum(in_flight),
    }
    frame = updates[["time", "node", "table", "version"]].assign(**books)
    return frame.assign(difference=frame["applied"] + frame["ages"] - frame["crossings"])

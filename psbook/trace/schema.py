"""The schema of a trace: one table, every column and every kind of row documented."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Column(NamedTuple):
    """A column: its name, dtype, unit, the value that means "none", and what it says."""

    name: str
    dtype: str
    unit: str
    missing: float | int | str
    meaning: str


COLUMNS: tuple[Column, ...] = (
    Column("time", "float64", "s", 0.0, "when it happened, or began, since clock 0 began"),
    Column("duration", "float64", "s", 0.0, "how long it lasted; 0 for instants"),
    Column("node", "str", "", "", "where it happened"),
    Column("kind", "str", "", "", "what happened, see KINDS"),
    Column("peer", "str", "", "", "the other node"),
    Column("table", "str", "", "", "table"),
    Column("shard", "int64", "", -1, "shard"),
    Column("start", "int64", "key", -1, "first key"),
    Column("stop", "int64", "key", -1, "behind the last key"),
    Column("clock", "int64", "iterations", -1, "clock of the program, push or shard; see KINDS"),
    Column("version", "int64", "updates", -1, "version of the table's range on the shard"),
    Column("staleness", "int64", "updates", -1, "version when applied − version read"),
    Column("message", "str", "", "", "id of the message"),
    Column("cause", "str", "", "", "id of the message that caused this row"),
    Column("bytes", "int64", "bytes", -1, "size of the message"),
    Column("value", "float64", "", np.nan, "number, see KINDS"),
    Column("detail", "str", "", "", "text, see KINDS"),
)

NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)

SPANS: tuple[str, ...] = ("compute", "network", "blocked", "queued", "idle")
"""The five kinds of a program's time (semantics.md H3); they cover [0, run end] without gap or overlap."""

KINDS: dict[str, str] = {
    "compute": "span: the program computes",
    "network": "span: it waits for messages on their way",
    "blocked": "span: the consistency model holds its request",
    "queued": "span: its request is queued or served at a shard",
    "idle": "span: it has nothing to do; detail = cause (finished early, receiving, barrier, compiling …)",
    "clock": "a program ended an iteration; clock = number of clock() calls so far",
    "finish": "a program ended",
    "report": "a program reported; detail = name, value = number",
    "apply": "a shard applied an update; clock = clock the push belongs to, version = afterwards, "
    "message = the push, cause = the pull it was computed from, detail = redone if its worker was lost in "
    "that clock and does it again",
    "drop": "a shard dropped a push: it was computed from a read of a round that is over; clock = clock it "
    "belongs to, version = the one it was computed from, message = the push, cause = the pull",
    "drop copy": "a replica that answers nobody dropped a push; columns as for drop",
    "replicate": "a replica that answers nobody applied an update; columns as for apply",
    "answer": "a shard read values for a reply; clock = the shard's min, message = the pull",
    "park": "a shard holds a request; detail = why",
    "release": "a held request goes on; value = seconds it was held",
    "send": "a message leaves; detail = its type",
    "receive": "a message arrives; detail = its type, shard = that of a copy that is taken in",
    "loss": "the evaluation; value = loss, clock = worker iterations so far, version = updates so far",
    "failure": "something was lost or raised, which ends the run; detail = what it means",
    "fault": "a fault was injected; detail = which",
    "lost": "the controller gives a node up, and the run goes on; detail = since when, and what it means",
    "restart": "a node was started again; version = how often",
    "serve": "a server takes up or gives up a role for a shard; version = epoch, detail = head, tail, both",
    "epoch": "the controller publishes a map; version = its epoch, detail = who holds what",
    "checkpoint": "a checkpoint is complete; clock = of its cut, bytes = its size, detail = where",
}

ALWAYS = frozenset({
    "finish", "report", "loss", "failure", "fault", "lost", "restart", "serve", "epoch", "checkpoint",
})  # fmt: skip
"""Kinds of row that are kept at every level: few, and what is to be known of any run."""

LEVELS: dict[str, frozenset[str]] = {
    "off": ALWAYS,
    "iterations": ALWAYS | {"clock", "apply", "drop", *SPANS},
    "full": frozenset(KINDS),
}
"""Kinds of row that are kept at each level."""

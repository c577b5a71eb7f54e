"""A trace's rows as integer arrays: names and message ids are read once, everything else compares numbers."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from psbook.trace.trace import Trace

IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
FloatArray: TypeAlias = npt.NDArray[np.float64]

NEVER = np.iinfo(np.int64).max
"""A version, clock or position that is not reached."""

REAL_CLOCKS = 0.01
"""Seconds by which rows of two real processes may be out of order, on top of what their clocks differ."""


class Ids(NamedTuple):
    """Message ids by their code: the parts of ``r{rank}.{incarnation}/{table}/s{shard}#{sequence}``.

    Texts that are no such id have −1 everywhere.
    """

    text: npt.NDArray[np.object_]
    rank: IntArray
    incarnation: IntArray
    table: npt.NDArray[np.object_]
    shard: IntArray
    sequence: IntArray


class Facts:
    """Columns of a trace as arrays, by the position of the row.

    Parameters
    ----------
    trace
        The trace; its rows are in the order of time.

    Examples
    --------
    >>> from psbook.trace import Recorder
    >>> recorder = Recorder()
    >>> recorder.add(0.5, "worker-3", "send", message="r3.0/w/s1#17", detail="Pull", clock=2)
    >>> facts = Facts(recorder.trace({}))
    >>> row = facts.at("send", detail="Pull")
    >>> facts.clock[row], facts.ids.sequence[facts.message[row]], facts.nodes[facts.node[row[0]]]
    (array([2]), array([17]), 'worker-3')
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.meta = trace.meta
        frame = trace.frame
        self.size = len(frame)
        self._kind, kinds = pd.factorize(frame["kind"])
        self._kinds = {str(kind): code for code, kind in enumerate(kinds)}
        self._detail, details = pd.factorize(frame["detail"])
        self._details = {str(detail): code for code, detail in enumerate(details)}
        both, nodes = pd.factorize(pd.concat([frame["node"], frame["peer"]], ignore_index=True))
        self.nodes: list[str] = [str(node) for node in nodes]
        self.node: IntArray = both[: self.size].astype(np.int64)
        self.peer: IntArray = both[self.size :].astype(np.int64)
        self.time = frame["time"].to_numpy(dtype=np.float64)

    def _ints(self, name: str) -> IntArray:
        return self.trace.frame[name].to_numpy(dtype=np.int64)

    @cached_property
    def clock(self) -> IntArray:
        """Clocks."""
        return self._ints("clock")

    @cached_property
    def version(self) -> IntArray:
        """Versions."""
        return self._ints("version")

    @cached_property
    def shard(self) -> IntArray:
        """Shards; where a row tells none, a negative number of its node's own."""
        shard = self._ints("shard")
        return np.where(shard >= 0, shard, -2 - self.node)

    @cached_property
    def table(self) -> IntArray:
        """Codes of the tables, see `tables`."""
        return self._tables[0]

    @property
    def tables(self) -> list[str]:
        """Names of the tables by their codes."""
        return self._tables[1]

    @cached_property
    def _tables(self) -> tuple[IntArray, list[str]]:
        codes, names = pd.factorize(self.trace.frame["table"])
        return codes.astype(np.int64), [str(name) for name in names]

    @cached_property
    def _messages(self) -> tuple[IntArray, pd.Index[Any]]:
        frame = self.trace.frame
        codes, texts = pd.factorize(pd.concat([frame["message"], frame["cause"]], ignore_index=True))
        return codes.astype(np.int64), texts

    @property
    def message(self) -> IntArray:
        """Codes of the messages, see `ids`."""
        return self._messages[0][: self.size]

    @property
    def cause(self) -> IntArray:
        """Codes of the causes."""
        return self._messages[0][self.size :]

    @cached_property
    def ids(self) -> Ids:
        """The messages' ids by their codes."""
        texts = self._messages[1]
        parts = pd.Series(texts, dtype="str").str.extract(r"^r(\d+)\.(\d+)/(.*)/s(\d+)#(\d+)$")
        rank, incarnation, shard, sequence = (
            parts[column].fillna("-1").to_numpy(dtype=object).astype(np.int64) for column in (0, 1, 3, 4)
        )
        table = parts[2].fillna("").to_numpy(dtype=object)
        return Ids(texts.to_numpy(dtype=object), rank, incarnation, table, shard, sequence)

    def at(self, *kinds: str, detail: str | tuple[str, ...] = ()) -> IntArray:
        """Positions of the rows of some kinds, and of some details if any are given."""
        wanted = [self._kinds[kind] for kind in kinds if kind in self._kinds]
        found = np.isin(self._kind, wanted)
        if detail:
            texts = (detail,) if isinstance(detail, str) else detail
            found &= np.isin(self._detail, [self._details[text] for text in texts if text in self._details])
        return np.flatnonzero(found)

    def first(self, rows: IntArray) -> IntArray:
        """Position of the first of `rows` with each message, by its code; `NEVER` if there is none."""
        found = np.full(len(self._messages[1]), NEVER)
        found[self.message[rows[::-1]]] = rows[::-1]
        return found

    def say(self, row: int) -> str:
        """When and where a row was, for sentences."""
        return f"at {self.time[row]:g} s, {self.nodes[self.node[row]]}"

    def name(self, message: int) -> str:
        """Text of a message's code."""
        return str(self.ids.text[message])

    @cached_property
    def programs(self) -> dict[int, int]:
        """Rank of each program's node, by the node's code, as its messages tell it."""
        rows = self.at("send", detail=("Pull", "Push", "Clock", "Finish", "Rejoin", "Call"))
        ranks = self.ids.rank[self.message[rows]]
        found = dict(zip(self.node[rows].tolist(), ranks.tolist(), strict=True))
        for rank, node in enumerate(self.meta.get("programs") or ()):
            if node in self.nodes:
                found.setdefault(self.nodes.index(node), rank)
        return found

    @cached_property
    def workers(self) -> frozenset[int]:
        """Ranks of the programs whose clocks count."""
        names = self.meta.get("workers")
        if names is None:
            return frozenset(self.programs.values())
        return frozenset(rank for node, rank in self.programs.items() if self.nodes[node] in names)

    @cached_property
    def skew(self) -> float:
        """Seconds by which rows of different nodes may be out of order; 0 in a simulation."""
        if self.meta.get("backend", "simulator") == "simulator":
            return 0.0
        offsets = self.meta.get("clock_offsets") or {}
        return REAL_CLOCKS + 2.0 * max((float(each["error"]) for each in offsets.values()), default=0.0)

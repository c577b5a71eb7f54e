"""A run's checkpoints: what is written of each shard, and how a run begins again from there (E7b)."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from psbook.checkpoints import Checkpoint, CheckpointStore, PartRecord
from psbook.checkpoints.plain import plain, restored
from psbook.core.keys import KeyRange, count, within
from psbook.core.routes import Segment
from psbook.errors import CheckpointError
from psbook.storage import Storage
from psbook.storage.shard import Block

if TYPE_CHECKING:
    from psbook.job import Job


def save_part(
    store: CheckpointStore, clock: int, segment: Segment, blocks: dict[str, Block], state: dict[str, Any]
) -> PartRecord:
    """Write a shard's part of the checkpoint of `clock`: rows, their state, clocks, and programs' states."""
    arrays: dict[str, Any] = {}
    for name, block in blocks.items():
        arrays[f"{name}/keys"] = np.array(block.keys) if isinstance(block.keys, KeyRange) else block.keys
        arrays[f"{name}/dense"] = np.array(isinstance(block.keys, KeyRange))
        arrays[f"{name}/values"] = np.asarray(block.values)
        for field, rows in block.state.items():
            arrays[f"{name}/state/{field}"] = np.asarray(rows)
    values: dict[str, Any] = {}
    programs = plain(state["states"], values)
    arrays |= {f"programs/{name}": value for name, value in values.items()}
    meta = {
        "start": str(segment.start),
        "stop": str(segment.stop),
        "clocks": [[rank, at] for rank, at in state["clocks"].items()],
        "reached": [[rank, at] for rank, at in state["reached"].items()],
        "versions": state["versions"],
        "counted": state["counted"],
        "known": [[str(start), str(stop), entries] for start, stop, entries in state["known"]],
        "programs": programs,
    }
    return store.write_part(clock, f"shard-{segment.shard}", arrays, meta)


class Saved:
    """A checkpoint of a run, whole and verified.

    Parameters
    ----------
    checkpoint
        The files.

    Attributes
    ----------
    clock : int
        The cut: every update of the clocks below it is in, and no other.
    states : dict
        By rank, what each program goes on from.
    finished : set
        Ranks whose programs had ended.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        checkpoint.verify()
        self.checkpoint = checkpoint
        self.clock: int = checkpoint.meta["clock"]
        self.finished: set[int] = set()
        self.states: dict[int, Any] = {}
        for _, _, arrays, meta in self._parts:
            values = {key.removeprefix("programs/"): value for key, value in arrays.items()}
            self.states |= restored(meta["programs"], values)
            active = {rank for rank, _ in meta["clocks"]}
            self.finished |= {rank for rank, _ in meta["reached"]} - active

    def __getstate__(self) -> dict[str, Any]:
        """Leave the arrays where they are: whoever needs them reads them there."""
        return {name: value for name, value in self.__dict__.items() if name != "_parts"}

    @cached_property
    def _parts(self) -> list[tuple[int, int, dict[str, Any], dict[str, Any]]]:
        parts = []
        for name in self.checkpoint.parts:
            arrays, meta = self.checkpoint.part(name)
            parts.append((int(meta["start"]), int(meta["stop"]), dict(arrays), dict(meta)))
        return sorted(parts, key=lambda part: part[0])

    def check(self, job: Job, programs: tuple[str, ...]) -> None:
        """Raise `CheckpointError` unless it is of this job, with as many programs."""
        found, wanted = self.checkpoint.meta["tables"], describe(job)
        if found != wanted:
            raise CheckpointError(
                f"{self.checkpoint!r} is of tables {found}; required: those of the job, {wanted}."
            )
        if self.checkpoint.meta["programs"] != list(programs):
            raise CheckpointError(
                f"{self.checkpoint!r} is of {', '.join(self.checkpoint.meta['programs'])}; required: "
                f"those of the job, {', '.join(programs)}. Only the number of servers may differ."
            )

    def state(self, segment: Segment) -> dict[str, Any]:
        """Return what a shard with these borders goes on from."""
        at = segment.start
        meta = next(meta for start, stop, _, meta in self._parts if start <= at < stop)
        return {
            "clocks": {int(rank): reached for rank, reached in meta["clocks"]},
            "reached": {int(rank): reached for rank, reached in meta["reached"]},
            "versions": meta["versions"],
            "counted": meta["counted"],
            "known": [[int(start), int(stop), entries] for start, stop, entries in meta["known"]],
            "states": {},
        }

    def fill(self, segment: Segment, storages: dict[str, Storage]) -> None:
        """Put the saved rows of a segment into its storages, whatever borders they were saved with."""
        for start, stop, arrays, _ in self._parts:
            if start < segment.stop and segment.start < stop:
                for name, storage in storages.items():
                    block = _cut(arrays, name, storage.keys)
                    if count(block.keys):
                        storage.load(block)


def _cut(arrays: dict[str, Any], name: str, keys: KeyRange) -> Block:
    """Return the rows of a part that belong to a range of keys."""
    saved = arrays[f"{name}/keys"]
    part = within(KeyRange(*saved.tolist()) if arrays[f"{name}/dense"] else saved, keys.start, keys.stop)
    inside = slice(part.start, part.stop)
    prefix = f"{name}/state/"
    state = {
        field.removeprefix(prefix): rows[inside] for field, rows in arrays.items() if field.startswith(prefix)
    }
    return Block(part.keys, arrays[f"{name}/values"][inside], state)


def describe(job: Job) -> dict[str, str]:
    """Say what a job's tables are, so that a checkpoint of others is refused."""
    return {
        name: f"{table.size} rows of {table.row_shape}, {table.dtype}, {table.update!r}"
        for name, table in job.tables.items()
    }

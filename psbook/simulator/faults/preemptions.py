"""Crashes from a recording of spot machines that came and went."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from psbook.errors import DataError
from psbook.simulator.faults.crashes import Crash

if TYPE_CHECKING:
    import pandas as pd


class Change(NamedTuple):
    """A machine comes ("add") or is taken away ("remove"), at a recorded time in seconds."""

    time: float
    kind: str
    machine: str


def read_changes(recording: str | os.PathLike[str] | pd.DataFrame, unit: float) -> list[Change]:
    """The rows of a recording by time; rows of one time stay in their order.

    Parameters
    ----------
    recording : path or DataFrame
        Three columns: time, "add" or "remove", name of the machine. A CSV file, also compressed, with or
        without a header.
    unit : float
        Seconds that one unit of the time column stands for.

    Raises
    ------
    DataError
        A file that cannot be read, or a row that makes no sense; the message gives the line.
    """
    frame, place, first = _table(recording)
    if frame.shape[1] < 3 or frame.empty:
        raise DataError(
            f"{place}: {frame.shape[0]} rows of {frame.shape[1]} columns; required: rows of time, "
            f"add or remove, and machine; check that this is a recording of preemptions"
        )
    rows = frame.iloc[:, :3].itertuples(index=False, name=None)
    changes = [_change(row, f"{place}, row {first + i}", unit) for i, row in enumerate(rows)]
    return sorted(changes, key=lambda change: change.time)


def crashes(
    changes: Sequence[Change], nodes: Sequence[str], scale: float, unit: float, start: float, end: float
) -> Iterator[Crash]:
    """Crashes of the nodes that hold the places of recorded machines; see `Faults.preemptions`."""
    for place, (down, up) in _outages(changes, len(nodes)):
        if place < len(nodes) and down < end and up > start:
            at = max(down - start, 0.0)
            # Replaced at the same reading of the recording's clock: within one unit.
            back = max(up - start - at, unit)
            yield Crash(nodes[place], at * scale, None if up >= end else back * scale)


def _outages(changes: Sequence[Change], places: int) -> list[tuple[int, tuple[float, float]]]:
    """When each place was empty, by (beginning, place): a newcomer takes the lowest place that is free."""
    free: list[int] = []
    held: dict[str, int] = {}
    empty = dict.fromkeys(range(places), -inf)  # nobody came yet
    outages: list[tuple[int, tuple[float, float]]] = []
    for time, kind, machine in changes:
        if (kind == "add") == (machine in held):
            found = "is there" if machine in held else "is not there"
            raise DataError(
                f"machine {machine!r}: {kind} at {time:g} s, but it {found}; required: add and remove of a "
                f"machine in turn; correct the recording"
            )
        if kind == "add":
            place = heappop(free) if free else len(held)  # none is free: all below are held
            held[machine] = place
            outages.append((place, (empty.pop(place, -inf), time)))
        else:
            place = held.pop(machine)
            heappush(free, place)
            empty[place] = time
    outages += [(place, (since, inf)) for place, since in empty.items()]
    return sorted(outages, key=lambda outage: (outage[1][0], outage[0]))


def _table(recording: str | os.PathLike[str] | pd.DataFrame) -> tuple[pd.DataFrame, str, int]:
    """The table, what it is called, and the number of its first row."""
    import pandas as pd

    if isinstance(recording, pd.DataFrame):
        return recording, "recording", 0
    file = Path(recording).expanduser()
    try:
        frame = pd.read_csv(file, header=None, dtype=str, skipinitialspace=True)
    except (OSError, EOFError, ValueError) as error:  # pandas' own are ValueErrors
        raise DataError(
            f"{file} cannot be read: {error}; required: a CSV file of time, add or remove, machine; "
            f"check the path"
        ) from error
    headed = not _numeric(frame.iloc[0, 0])
    return frame.iloc[1:] if headed else frame, str(file), 2 if headed else 1


def _numeric(value: Any) -> bool:
    try:
        return isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _change(row: Sequence[Any], place: str, unit: float) -> Change:
    time, kind, machine = row
    if not _numeric(time) or kind not in ("add", "remove") or not isinstance(machine, str):
        raise DataError(
            f"{place} is {tuple(row)}; required: a finite time, 'add' or 'remove', a name; correct or drop it"
        )
    return Change(float(time) * unit, kind, machine)

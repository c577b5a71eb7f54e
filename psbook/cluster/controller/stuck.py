"""Who waits for whom: a run in which nothing can move any more."""

from __future__ import annotations

from collections.abc import Mapping, Set

from psbook.cluster.spec import Standing


class Standings:
    """How programs stand, and since when, in seconds of a monotonic clock.

    Examples
    --------
    >>> standings = Standings()
    >>> standings.note({"worker-0": Standing(3, "worker.receive(1)")}, 0.0)
    >>> standings.stuck({"worker-0"}, now=9.0, patience=10.0)
    >>> standings.stuck({"worker-0"}, now=11.0, patience=10.0)
    'worker-0 waits for worker.receive(1)'
    """

    def __init__(self) -> None:
        self._since: dict[str, tuple[Standing, float]] = {}

    def note(self, standing: Mapping[str, Standing], now: float) -> None:
        """Take in what a process says of its programs."""
        for program, stands in standing.items():
            if stands != self._since.get(program, (None, 0.0))[0]:
                self._since[program] = stands, now

    def forget(self, program: str) -> None:
        """A program is lost; the next one of its name stands elsewhere."""
        self._since.pop(program, None)

    def stuck(self, active: Set[str], now: float, patience: float) -> str | None:
        """Say who waits for what if all unfinished programs have waited for others, unmoved, too long."""
        if not active <= self._since.keys():
            return None
        waits = {program: self._since[program] for program in sorted(active)}
        if not all(stands.waits_for and now - since > patience for stands, since in waits.values()):
            return None
        return "; ".join(f"{program} waits for {stands.waits_for}" for program, (stands, _) in waits.items())


def deadlock_text(said: str, patience: float) -> str:
    """Say what is the matter with a run that is stuck."""
    return (
        f"nothing has moved for {patience:g} s: {said}. Required: every program clocks "
        "or ends, every receive has its send, every barrier its peers."
    )

"""Programs are placed where their data lies, as far as all processes get equally many of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from distributed import Client, wait

from psbook.data import Portion
from psbook.plan import Plan


def likings(plan: Plan, client: Client) -> dict[str, Counter[str]]:
    """Return, by program, how many of its futures lie in which process."""
    futures = {
        program: shard.futures()
        for program, shard in zip(plan.layout.programs, plan.shards, strict=True)
        if isinstance(shard, Portion) and not shard.queue and shard.futures()
    }
    if not futures:
        return {}
    with client.as_current():
        wait([future for some in futures.values() for future in some])  # until then they are nowhere
    places: Mapping[object, Sequence[str]] = client.who_has([f for some in futures.values() for f in some])
    return {
        program: Counter(place for future in some for place in places.get(future.key, ()))
        for program, some in futures.items()
    }


def nearer(routes: Mapping[str, str], likes: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """Let programs change places, each for one where more of its data lies, the one with most first.

    Examples
    --------
    >>> nearer({"worker-0": "a", "worker-1": "b"}, {"worker-0": {"b": 1}})
    {'worker-0': 'b', 'worker-1': 'a'}
    """
    free = Counter(routes[program] for program in routes)
    found: dict[str, str] = {}
    for program, place in _wishes(likes):
        if program in routes and program not in found and free[place]:
            found[program] = place
            free[place] -= 1
    for program, place in routes.items():
        if program not in found:
            found[program] = place if free[place] else next(other for other in free if free[other])
            free[found[program]] -= 1
    return {program: found[program] for program in routes}


def _wishes(likes: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, str]]:
    """Yield programs and places, those first where most lies."""
    wishes = [(-n, program, place) for program, places in likes.items() for place, n in places.items()]
    for _, program, place in sorted(wishes):
        yield program, place

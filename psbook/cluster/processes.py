"""What the client asks of a run's processes: their rows, results and values.

By way of the scheduler: a client need not reach the workers, on Kubernetes it often cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from distributed import Client
from distributed.protocol import Serialize

LOOK_SECONDS = 0.25
"""How often it is looked whether those who do not answer are lost."""


class Processes:
    """The worker processes of a run, as seen from its client.

    Parameters
    ----------
    client
        A synchronous Dask client.
    name
        Name of the run's handlers.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._scheduler: Any = client.scheduler
        self._name = name

    def ask(
        self, addresses: Sequence[str], action: str, routes: bytes, seconds: float
    ) -> dict[str, dict[str, Any]]:
        """Return what each process answers within so many seconds; those that are lost answer nothing."""
        answers: dict[str, dict[str, Any]] = self._client.sync(
            self._ask, addresses, action, routes or None, seconds
        )
        return answers

    async def _ask(
        self, addresses: Sequence[str], action: str, routes: bytes | None, seconds: float
    ) -> dict[str, Any]:
        async def one(address: str) -> Any:
            message = {"op": self._name, "action": action, "routes": routes}
            home = await asyncio.wait_for(self._scheduler.proxy(msg=message, worker=address), seconds)
            return home.data if isinstance(home, Serialize) else home  # as it was, inside one process

        asked = {address: asyncio.ensure_future(one(address)) for address in addresses}
        pending: set[asyncio.Future[Any]] = set(asked.values())
        while pending:
            _, pending = await asyncio.wait(pending, timeout=LOOK_SECONDS)
            for address in await self._silent(asked) & asked.keys() if pending else ():
                asked[address].cancel()  # its process may never answer
        await asyncio.gather(*asked.values(), return_exceptions=True)
        return {
            address: task.result() for address, task in asked.items()
            if not task.cancelled() and task.exception() is None and isinstance(task.result(), dict)
        }  # fmt: skip

    async def _silent(self, asked: Mapping[str, object]) -> set[str]:
        with contextlib.suppress(OSError):
            status = await getattr(self._scheduler, self._name)(action="status", wait=0.0)
            return set(status["gone"])
        return set(asked)  # without the scheduler there is no way to them

    def keep(
        self, routes: Mapping[str, str], sparse: Sequence[str], places: Sequence[tuple[str, int, int]]
    ) -> dict[str, dict[str, int]]:
        """Leave shards in their processes; return the bytes of each by its Dask key, by address.

        Raises
        ------
        OSError
            If a process is lost meanwhile.
        """

        async def keep(address: str) -> Any:
            here = [place for place in places if routes[place[0]] == address]
            message = {"op": self._name, "action": "keep", "sparse": sparse, "places": here}
            held = await self._scheduler.proxy(msg=message, worker=address)
            if held is None:
                raise ConnectionError(f"{address} takes no part in the run any more")
            return held

        async def all_keep() -> list[Any]:
            return await asyncio.gather(*map(keep, addresses))

        addresses = sorted({routes[server] for server, _, _ in places})
        return dict(zip(addresses, self._client.sync(all_keep), strict=True))


def later(before: Mapping[str, Any] | None, home: dict[str, Any]) -> dict[str, Any]:
    """Put what a process sends home now behind what it sent before: rows and snapshots come once only."""
    for name, node in home["nodes"].items():
        earlier = before["nodes"].get(name, {}) if before else {}
        for part in ("rows", "snapshots"):
            if part in node:
                node[part] = [*earlier.get(part, ()), *node[part]]
    return home

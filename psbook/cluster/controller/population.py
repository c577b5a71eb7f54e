"""Which processes take part in a run, which of them are away, and where each node is."""

from __future__ import annotations

from collections.abc import Mapping

from psbook.cluster.spec import Spec, nodes_of


class Population:
    """The processes of a run, as its controller knows them.

    Parameters
    ----------
    spec
        The run.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self.routes = dict(spec.routes)
        """Address of each node; processes are nodes too."""
        self.gone: set[str] = set()
        """Addresses that nothing will come from any more."""
        self.hung: set[str] = set()
        """Addresses that give no sign of life, but may wake up."""
        self.leaving: set[str] = set()
        """Addresses that are to go when others hold what they hold."""
        self._newcomers = 0

    def newcomer(self, address: str) -> str:
        """Name a process that was not there at the start, and the server that it is to be."""
        self._newcomers += 1
        process = f"process-{len(self._spec.processes) + self._newcomers - 1}"
        self.routes[process] = address
        self.routes[f"server-{self._spec.layout.count + self._newcomers - 1}"] = address
        return process

    @property
    def processes(self) -> list[str]:
        """The processes that are there, hung or not."""
        names = [node for node in self.routes if node.startswith("process-")]
        return [name for name in names if self.routes[name] not in self.gone]

    @property
    def silent(self) -> set[str]:
        """Addresses from which nothing is to be expected now."""
        return self.gone | self.hung

    def processes_at(self, address: str) -> list[str]:
        """Return the process at an address, under all its names."""
        return [name for name, at in self.routes.items() if at == address and name.startswith("process-")]

    def nodes_at(self, address: str) -> list[str]:
        """Return the programs and servers of a process."""
        return nodes_of(self.routes, address)

    def is_there(self, node: str) -> bool:
        """Whether a message to a node may arrive."""
        return node in self.routes and self.routes[node] not in self.gone

    def place_again(self, node: str) -> str | None:
        """Move a program to a process that is there, where fewest are; ``None`` if none is left for it."""
        there = [self.routes[name] for name in self.processes]
        places = [at for at in there if at not in self.leaving | self.hung and at != self.routes[node]]
        if not places:
            return None
        programs = [self.routes[program] for program in self._spec.layout.programs]
        self.routes[node] = min(places, key=lambda place: (programs.count(place), there.index(place)))
        return self.routes[node]


def lost_text(nodes: list[str], address: str, why: str) -> str:
    """Say that a run cannot go on without the nodes of a process."""
    return (
        f"{', '.join(nodes)} at {address} lost: {why}. The run cannot go on without "
        f"{'them' if len(nodes) > 1 else 'it'}; start it again, on the workers that are left."
    )


def servers_of(spec: Spec, routes: Mapping[str, str], address: str) -> list[str]:
    """Return the servers of a process, sorted."""
    return sorted(node for node in nodes_of(routes, address) if spec.layout.rank(node) is None)

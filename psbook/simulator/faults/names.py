"""Names of nodes and patterns of names: ``server-*`` stands for every server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from psbook.errors import InvalidJob


def is_pattern(name: str) -> bool:
    """Whether a name has a wildcard: ``*``, ``?`` or ``[…]``."""
    return any(sign in name for sign in "*?[")


def covers(names: Iterable[str], node: str) -> bool:
    """Whether a node is meant by one of the names or patterns."""
    return any(name == node or fnmatchcase(node, name) for name in names)


def known(names: Iterable[str], nodes: Sequence[str], what: str) -> tuple[str, ...]:
    """The nodes that names and patterns mean, each once, in the order of the names and then of the nodes.

    Raises
    ------
    InvalidJob
        A name that is no node, or a pattern that fits none; the message lists the nodes there are.

    Examples
    --------
    >>> known(["server-1", "server-*"], ["worker-0", "server-0", "server-1"], "Rack")
    ('server-1', 'server-0')
    """
    meant: dict[str, None] = {}
    for name in names:
        found = [node for node in nodes if covers([name], node)]
        if not found:
            near = get_close_matches(name, nodes, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else "correct the name, or leave the fault out"
            raise InvalidJob(
                f"{what}: the run has no node {name!r}; required: one of {', '.join(nodes)}; {remedy}"
            )
        meant.update(dict.fromkeys(found))
    return tuple(meant)

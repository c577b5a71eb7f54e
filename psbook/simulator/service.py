"""How long a server takes for a request: one law for all of them, or one for each thing that it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from psbook.core.controls import Forward
from psbook.core.messages import Batch, Call, Message, Pull, Push
from psbook.errors import InvalidJob
from psbook.laws import Draws, Law, generator
from psbook.laws.option import law_option

ROLES = ("head", "replica", "read")
"""A push or call taken in by the head, the same passed on to another replica, a pull."""

ServiceOption: TypeAlias = Law | float | Mapping[str, Law | float] | None


class Service:
    """Service times of the servers; clocks and what the controller says only keep their place in the queue.

    Parameters
    ----------
    option : Law, float or mapping
        Seconds for each pull, push and call; or by role, ``{"head": 0.05, "replica": 0.02, "read": 0.005}``
        (van Renesse and Schneider 2004, §4): what is left out takes no time.
    seed : int
        The seed of the run.

    Raises
    ------
    InvalidJob
        If the option makes no sense.

    Examples
    --------
    >>> service = Service({"head": 0.05, "replica": 0.02}, seed=0)
    >>> service.label, service.seconds("replica", 0), service.seconds("read", 0)
    ('head Constant(0.05), replica Constant(0.02)', 0.02, 0.0)
    """

    def __init__(self, option: ServiceOption, seed: int) -> None:
        laws, first = service_laws(option), service_seed(seed)
        if isinstance(option, Mapping):
            self.label = ", ".join(f"{role} {law.label}" for role, law in laws.items())
            seeds = {role: (first + place) % 2**63 for place, role in enumerate(ROLES)}
            self._draws = {role: Draws(law, seeds[role]) for role, law in laws.items()}
        else:  # one stream of times, whatever is asked for
            self.label = laws["head"].label if laws else ""
            self._draws = dict.fromkeys(laws, Draws(laws["head"], first)) if laws else {}

    def __bool__(self) -> bool:
        return bool(self._draws)

    def seconds(self, role: str, server: int) -> float:
        """Seconds that a server takes for its next request of a role."""
        draws = self._draws.get(role)
        return 0.0 if draws is None else draws.next(server)

    def takes(self, message: Message) -> str | None:
        """Return the role in which a server is kept busy by a message, if it is."""
        role = role_of(message)
        return role if role in self._draws else None


def role_of(message: Message) -> str | None:
    """Return what a server does for a message: one of `ROLES`, or nothing that takes time."""
    kind = type(message)
    if kind is Pull:
        return "read"
    if kind is Push or kind is Call:
        return "head"
    if kind is Forward and isinstance(message.entry, Push | Call | Batch):  # type: ignore[union-attr]
        return "replica"
    return None


def service_laws(option: ServiceOption) -> dict[str, Law]:
    """Return the law of each role that takes time; one law alone is that of what clients ask for."""
    if not isinstance(option, Mapping):
        law = law_option("service", option)
        return {} if law is None else {"head": law, "read": law}
    unknown = set(option) - set(ROLES)
    if unknown:
        raise InvalidJob(
            f"service names {', '.join(map(repr, sorted(unknown)))}; required: some of {', '.join(ROLES)}."
        )
    laws = {role: law_option(f"service[{role!r}]", option.get(role)) for role in ROLES}
    return {role: law for role, law in laws.items() if law is not None}


def service_seed(seed: int) -> int:
    """Seed of the service times: drawn apart, so that server k has not the luck of worker k."""
    return int(generator(seed, "service").integers(2**63))

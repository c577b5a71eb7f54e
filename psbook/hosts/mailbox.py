"""Values sent from program to program, until somebody receives them."""

from __future__ import annotations

from dataclasses import dataclass

from psbook.core.messages import Parcel
from psbook.operation import Operation


@dataclass(slots=True, eq=False)
class Wanted:
    """A receive that waits: from whom (``None``: anybody) and with which tag."""

    source: int | None
    tag: str
    operation: Operation[object]

    def fits(self, parcel: Parcel) -> bool:
        """Whether the parcel is what this receive waits for."""
        return self.tag == parcel.tag and self.source in (None, parcel.source)


class Mailbox:
    """Matches parcels with receives, both in the order in which they came."""

    def __init__(self) -> None:
        self.parcels: list[Parcel] = []
        self.wanted: list[Wanted] = []

    def put(self, parcel: Parcel) -> None:
        """Take in a parcel: for the first receive that fits, else for later."""
        for wanted in self.wanted:
            if wanted.fits(parcel):
                self.wanted.remove(wanted)
                wanted.operation.resolve(parcel.value)
                return
        self.parcels.append(parcel)

    def ask(self, wanted: Wanted) -> None:
        """Receive: the first parcel that fits, now or when it comes."""
        for parcel in self.parcels:
            if wanted.fits(parcel):
                self.parcels.remove(parcel)
                wanted.operation.resolve(parcel.value)
                return
        self.wanted.append(wanted)

"""What a run promises: by its consistency model, its delivery, its safety, as the trace's meta tells them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LABEL = re.compile(r"(SSP|Delay|DSSP)\((?:\d+, )?(∞|\d+)(, gate=clock)?\)")


@dataclass(frozen=True)
class Promises:
    """What a trace is to be judged by.

    Attributes
    ----------
    label : str
        The model, for sentences.
    family : str
        "serial", "bsp", "asp", "ssp", "dssp", "boundeddelay"; empty for one whose promises are not judged.
    bound : int, optional
        s of SSP, the upper one of DSSP, τ of bounded delay, 0 of BSP and Serial [iterations]; ``None``: none.
    gate : bool
        Whether ``clock()`` waits.
    delivery : str
        See `psbook.Safety`; and so the others.
    """

    label: str
    family: str
    bound: int | None
    gate: bool
    buffered: bool
    collects: bool
    """Whether gradients are applied some at a time, and old ones may be dropped."""
    delivery: str
    atomic: bool
    active: bool
    leave: bool
    """Whether a lost worker leaves the clocks' minimum."""

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Promises:
        """Read them from the meta of a trace.

        >>> promises = Promises.of({"model": "ssp", "model_label": "SSP(3, gate=clock)"})
        >>> promises.bound, promises.gate, promises.delivery
        (3, True, 'exactly-once')
        """
        label, family = str(meta.get("model_label", "")), str(meta.get("model", "")).lower()
        if family not in ("serial", "bsp", "asp", "ssp", "dssp", "boundeddelay"):
            family = ""
        found = LABEL.fullmatch(label)
        bound: int | None = 0 if family in ("serial", "bsp") else None
        if found and family in ("ssp", "dssp", "boundeddelay") and found[2] != "∞":
            bound = int(found[2])
        safety = meta.get("safety") or {}
        return cls(
            label=label or "the model",
            family=family,
            bound=bound,
            gate=family == "boundeddelay" or bool(found and found[3]),
            buffered=bool(meta.get("buffered", family == "bsp")),
            collects=bool(meta.get("collects", False)),
            delivery=str(safety.get("delivery", meta.get("delivery", "exactly-once"))),
            atomic=bool(safety.get("atomic", False)),
            active=bool(safety.get("active", False)),
            leave=safety.get("lost_workers") == "leave",
        )

    @property
    def why_unbounded(self) -> str:
        """Why reads have no bound, in a sentence."""
        return f"{self.label} promises no bound" if self.family else f"the bound of {self.label} is not known"

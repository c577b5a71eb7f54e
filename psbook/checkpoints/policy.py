"""How often a run saves itself, where, and how much of that stays."""

from __future__ import annotations

import os
from dataclasses import dataclass

from psbook.checkpoints.arguments import whole
from psbook.checkpoints.store import CheckpointStore
from psbook.errors import InvalidJob


@dataclass(frozen=True)
class Checkpoints:
    """Save the run every so many clocks.

    Parameters
    ----------
    url : str or path
        Where: a folder, or any URL of fsspec that every process reaches, such as ``s3://bucket/run``.
    every : int
        Clocks between two cuts, at least 1.
    keep : int
        How many complete checkpoints stay, at least 1.

    Raises
    ------
    InvalidJob
        If it cannot be meant so. Whether the place can be reached and written to is asked by `store`.

    Examples
    --------
    >>> policy = Checkpoints("memory://run", every=50)
    >>> policy.label
    'a checkpoint every 50 clocks in memory://run, the newest 3 kept'
    >>> policy.store().numbers()
    []
    """

    url: str | os.PathLike[str]
    every: int
    keep: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.url, str | os.PathLike) or not os.fspath(self.url):
            raise InvalidJob(
                f"Checkpoints(url={self.url!r}); required: a path or a URL such as 's3://bucket/run'."
            )
        whole("every", self.every, 1)
        whole("keep", self.keep, 1)

    @property
    def label(self) -> str:
        """The policy in words."""
        often = "every clock" if self.every == 1 else f"every {self.every} clocks"
        kept = "the newest kept" if self.keep == 1 else f"the newest {self.keep} kept"
        return f"a checkpoint {often} in {os.fspath(self.url)}, {kept}"

    def store(self) -> CheckpointStore:
        """Open the place; see `CheckpointStore` for what may be wrong with it."""
        return CheckpointStore(self.url, self.keep)

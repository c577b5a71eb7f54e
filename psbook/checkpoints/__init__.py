"""Checkpoints as files: how a consistent cut lies on disk or in an object store, and is read back."""

from psbook.checkpoints.checkpoint import Checkpoint
from psbook.checkpoints.manifest import PartRecord
from psbook.checkpoints.policy import Checkpoints
from psbook.checkpoints.store import CheckpointStore

__all__ = ["Checkpoint", "CheckpointStore", "Checkpoints", "PartRecord"]

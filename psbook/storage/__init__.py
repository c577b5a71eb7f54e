"""The values of one table on one shard: reads that never change, pushes that are one update."""

from psbook.storage.shard import Block, NewValues, Storage

__all__ = ["Block", "NewValues", "Storage"]

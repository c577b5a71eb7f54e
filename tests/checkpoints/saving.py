"""Small checkpoints, and what is in their files."""

import fsspec
import numpy as np

from psbook.checkpoints import Checkpoint, CheckpointStore


def content(number: int, part: str) -> np.ndarray:
    return np.arange(3.0) + 100 * number + len(part)


def save(store: CheckpointStore, number: int, parts: tuple[str, ...] = ("a", "bb")) -> None:
    records = [store.write_part(number, part, {"w": content(number, part)}, {"part": part}) for part in parts]
    store.commit(number, records, {"number": number})


def assert_whole(checkpoint: Checkpoint, number: int) -> None:
    """Every value of the checkpoint is the one that `save` wrote."""
    assert checkpoint.number == number and checkpoint.meta == {"number": number}
    assert checkpoint.parts
    for part in checkpoint.parts:
        arrays, meta = checkpoint.part(part)
        assert meta == {"part": part} and list(arrays) == ["w"]
        np.testing.assert_array_equal(arrays["w"], content(number, part))


def files(url: str) -> dict[str, str]:
    """Return full path by name of everything in a folder."""
    system, root = fsspec.core.url_to_fs(url)
    system.invalidate_cache()
    try:
        return {path.rpartition("/")[2]: path for path in system.ls(root, detail=False)}
    except FileNotFoundError:  # an object store has no empty folders
        return {}


def read_file(url: str, name: str) -> bytes:
    system, root = fsspec.core.url_to_fs(url)
    return system.cat_file(f"{root}/{name}")


def write_file(url: str, name: str, data: bytes) -> None:
    system, root = fsspec.core.url_to_fs(url)
    system.pipe_file(f"{root}/{name}", data)


def remove_file(url: str, name: str) -> None:
    system, root = fsspec.core.url_to_fs(url)
    system.rm_file(f"{root}/{name}")

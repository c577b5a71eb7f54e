"""Filesystems for tests: an object store in a dictionary, and two that die at their k-th operation."""

import io
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem


class PowerCut(OSError):
    """What every operation raises after the machine has died."""


class Machine:
    """Dies when its operations are used up; `None` is never."""

    left: ClassVar[int | None] = None

    @classmethod
    def step(cls) -> None:
        if Machine.left is not None:
            if Machine.left == 0:
                raise PowerCut("the machine is off")
            Machine.left -= 1


class Upload(io.BytesIO):
    """An object that exists, whole, when it is closed."""

    def __init__(self, system: "ObjectStore", path: str) -> None:
        super().__init__()
        self.system, self.path = system, path

    def write(self, data: Any) -> int:
        Machine.step()
        return super().write(data)

    def close(self) -> None:
        if not self.closed:
            Machine.step()
            self.system.objects[self.path] = self.getvalue()
            super().close()


class ObjectStore(AbstractFileSystem):
    """Like S3: no folders, no renames, whole objects, and listings that are remembered until asked anew."""

    protocol = "objects"
    objects: ClassVar[dict[str, bytes]] = {}

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        Machine.step()

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        raise NotImplementedError("a move here would be a copy")

    def _remembered(self, path: str) -> list[dict[str, Any]]:
        if path not in self.dircache:
            Machine.step()
            self.dircache[path] = [
                {"name": name, "size": len(data), "type": "file"}
                for name, data in self.objects.items()
                if name.startswith(f"{path}/")
            ]
        return self.dircache[path]

    def invalidate_cache(self, path: str | None = None) -> None:
        self.dircache.clear()

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        found = self._remembered(self._strip_protocol(path))
        if not found:
            raise FileNotFoundError(path)
        return found if detail else [entry["name"] for entry in found]

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        for entry in self._remembered(self._parent(path)):
            if entry["name"] == path:
                return entry
        raise FileNotFoundError(path)

    def rm_file(self, path: str) -> None:
        Machine.step()
        if self.objects.pop(path, None) is None:
            raise FileNotFoundError(path)

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> io.BytesIO:
        Machine.step()
        if mode == "wb":
            return Upload(self, path)
        if path not in self.objects:
            raise FileNotFoundError(path)
        return io.BytesIO(self.objects[path])


class TornFile:
    """A local file whose last write before the machine dies is half done."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> "TornFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: Any) -> int:
        try:
            Machine.step()
        except PowerCut:
            self.file.write(bytes(data)[: len(data) // 2])
            raise
        return self.file.write(data)


class MortalDisk(LocalFileSystem):
    """The local disk of a machine that dies."""

    protocol = "mortal"

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        Machine.step()
        super().makedirs(path, exist_ok)

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        Machine.step()
        file = super().open(path, mode, **kwargs)
        return TornFile(file) if mode == "wb" else file

    def mv(self, path1: str, path2: str, *args: Any, **kwargs: Any) -> None:
        Machine.step()
        super().mv(path1, path2, *args, **kwargs)

    def rm_file(self, path: str) -> None:
        Machine.step()
        super().rm_file(path)

    def ls(self, path: str, *args: Any, **kwargs: Any) -> Any:
        Machine.step()
        return super().ls(path, *args, **kwargs)

    def cat_file(self, path: str, *args: Any, **kwargs: Any) -> Any:
        Machine.step()
        return super().cat_file(path, *args, **kwargs)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return LocalFileSystem._strip_protocol(str(path).removeprefix("mortal://"))


class ReadOnly(ObjectStore):
    """Lets nobody write."""

    protocol = "readonly"

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> io.BytesIO:
        if mode == "wb":
            raise PermissionError("no write access")
        return super()._open(path, mode, **kwargs)


class WriteOnly(ObjectStore):
    """Lets nobody remove, once there is something to keep."""

    protocol = "writeonly"

    def rm_file(self, path: str) -> None:
        if "checkpoint-" in path:
            raise PermissionError("no access to remove")
        super().rm_file(path)


for system in (ObjectStore, MortalDisk, ReadOnly, WriteOnly):
    fsspec.register_implementation(system.protocol, system, clobber=True)

"""The `dask` command line, as an administrator uses it: schedulers and workers of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .cleanup import Cleanup

START_SECONDS = 60.0


class Commands:
    """Starts commands, each in a process group of its own, with its output in a file.

    Parameters
    ----------
    cleanup
        Kills the groups in the end, if `close` is never reached.
    folder
        Where the output goes.
    """

    def __init__(self, cleanup: Cleanup, folder: Path) -> None:
        self._cleanup = cleanup
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self, name: str, *command: str, within: Sequence[str] = (), **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a command; `within` is what comes before it, such as ``ip netns exec …``."""
        with self.output(name).open("wb") as output:
            process = subprocess.Popen(
                [*within, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=_environment(environment), cwd=self._folder, start_new_session=True,
            )  # fmt: skip
        self._cleanup.later(f"kill -KILL -- -{process.pid}")
        self._running.append(process)
        return process

    def close(self) -> None:
        """End all that was started, last first."""
        for process in reversed(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)

    def dask(
        self, name: str, *arguments: str, within: Sequence[str] = (), **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start ``dask scheduler …`` or ``dask worker …``."""
        return self.python(name, "-m", "dask", *arguments, within=within, **environment)

    def python(
        self, name: str, *arguments: str, within: Sequence[str] = (), **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start this Python; where it is started is no place for it to import from."""
        return self.start(name, sys.executable, "-P", *arguments, within=within, **environment)

    def scheduler(self, *arguments: str, within: Sequence[str] = (), **environment: str) -> str:
        """Start ``dask scheduler …`` on a free port; return its address."""
        file = self._folder / "scheduler.json"
        more = ["--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
        process = self.dask("scheduler", "scheduler", *more, *arguments, within=within, **environment)
        self.until(
            lambda: process.poll() is not None or (file.exists() and file.read_bytes().endswith(b"}")),
            lambda: self._said("scheduler"),
        )
        assert process.poll() is None, self._said("scheduler")
        address: str = json.loads(file.read_text())["address"]
        return address

    def output(self, name: str) -> Path:
        """Return the file with a command's output."""
        return self._folder / f"{name}.log"

    def wait_for(self, name: str, text: str, process: subprocess.Popen[bytes]) -> str:
        """Wait until a command has written some text; return all it has written."""
        self.until(lambda: text in self._said(name) or process.poll() is not None, lambda: self._said(name))
        assert text in self._said(name), self._said(name)
        return self._said(name)

    def _said(self, name: str) -> str:
        return self.output(name).read_text(errors="replace")

    @staticmethod
    def until(condition: Callable[[], object], why: Callable[[], object] = lambda: "") -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            assert time.monotonic() < deadline, why()
            time.sleep(0.05)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """The tests' environment; psbook is found where it is installed, and the tests' jobs where they are."""
    import psbook

    homes = [Path(psbook.__file__).parents[1], Path(__file__).parents[2]]
    paths = [more.get("PYTHONPATH", ""), *map(str, homes)]
    return {**os.environ, **more, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

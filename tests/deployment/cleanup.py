"""What a test starts outside its process is taken away again, whatever becomes of the test."""

from __future__ import annotations

import subprocess
import sys
import types

_CLEANER = """
import subprocess, sys
for line in reversed(sys.stdin.readlines()):
    subprocess.run(line, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
"""


class Cleanup:
    """Runs shell commands in the end, last first: also when this process is killed.

    A second process reads the commands from a pipe; when the pipe closes, for whatever reason, it runs them.
    """

    def __enter__(self) -> Cleanup:
        self._cleaner = subprocess.Popen(
            [sys.executable, "-S", "-c", _CLEANER], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        return self

    def later(self, command: str) -> None:
        """Run a command in the end."""
        self._cleaner.stdin.write(command + "\n")
        self._cleaner.stdin.flush()

    def __exit__(self, *raised: types.TracebackType | object) -> None:
        self._cleaner.stdin.close()
        self._cleaner.wait(60)

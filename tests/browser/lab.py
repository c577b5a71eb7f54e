"""JupyterLab on a free loopback port, and a notebook run in it by a headless browser."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SETTINGS = {
    # Every cell stays in the page, so that what is asserted of all outputs is asserted of all outputs.
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}

PICTURE = ".jp-OutputArea-output img, .jp-RenderedHTML svg, .widget-html svg"


def browser() -> str | None:
    """Return the path of an installed Chromium, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: where it is, and the folder it serves."""

    url: str
    token: str
    folder: Path

    def address(self, notebook: str) -> str:
        return f"{self.url}/lab/tree/{notebook}?reset&token={self.token}"


@contextmanager
def jupyterlab(home: Path, seconds: float = 60.0) -> Iterator[Lab]:
    """Serve ``home / "book"`` with the settings of nobody in particular, and stop when done."""
    folder = home / "book"
    folder.mkdir()
    for name, text in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), folder)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--LabApp.expose_app_in_browser=True"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--ServerApp.root_dir={folder}", f"--LabApp.user_settings_dir={home / 'settings'}"]
    command += [f"--LabApp.workspaces_dir={home / 'workspaces'}"]
    environment = os.environ | {
        "JUPYTER_TOKEN": lab.token,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    environment.pop("MPLBACKEND", None)  # the tests' own choice; a reader's plots are inline
    log = home / "jupyterlab.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment, cwd=home, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_up(lab, server, log, seconds)
        yield lab
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_until_up(lab: Lab, server: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Return when the server answers; raise with its log when it does not."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy on the loopback
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            opener.open(f"{lab.url}/api/status?token={lab.token}", timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"JupyterLab did not start within {seconds:g} s:\n{log.read_text()[-4000:]}")


def run_all_cells(page: Page) -> None:
    """Run the open notebook from top to bottom and save it, as a reader would from the menus."""
    kernel = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
    page.wait_for_function(f"() => {kernel}?.status === 'idle'")
    page.evaluate(
        """async () => {
            await jupyterapp.commands.execute('notebook:run-all-cells');
            await jupyterapp.commands.execute('docmanager:save');
        }"""
    )


def errors(notebook: Path) -> list[str]:
    """Return the errors among the outputs of a saved notebook."""
    return [output.ename for output in outputs(notebook) if output.output_type == "error"]


def expected_pictures(notebook: Path) -> int:
    """Return how many outputs of a saved notebook a browser should draw as a picture."""
    bundles = [set(output.get("data", ())) for output in outputs(notebook)]
    widget, image = "application/vnd.jupyter.widget-view+json", {"image/png", "image/svg+xml"}
    return sum(bool(bundle & image) and widget not in bundle for bundle in bundles)


def outputs(notebook: Path) -> list[Any]:
    """Return all outputs of a saved notebook, in order."""
    return [output for cell in nbformat.read(notebook, 4).cells for output in cell.get("outputs", ())]


def pictures(page: Page, count: int) -> list[bool]:
    """Wait for ``count`` pictures among the outputs; return for each picture whether it could be drawn."""
    page.wait_for_function(
        "([css, count]) => document.querySelectorAll(css).length >= count", arg=[PICTURE, count]
    )
    drawn: list[bool] = page.evaluate(
        """css => Promise.all([...document.querySelectorAll(css)].map(async picture => {
            if (picture.decode) await picture.decode().catch(() => null);
            return (picture.naturalWidth ?? picture.getBoundingClientRect().width) > 0;
        }))""",
        arg=PICTURE,
    )
    return drawn

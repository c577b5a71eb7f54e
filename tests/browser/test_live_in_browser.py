"""The live view in JupyterLab: it changes while the kernel is busy, and leaves a picture in the notebook."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Page, sync_playwright

from tests.browser.lab import FLAGS, Lab, browser, errors, jupyterlab, outputs, run_all_cells

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.skipif(browser() is None, reason="no Chromium (Debian: apt-get install chromium)"),
]

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}

START = """import time
import numpy as np
import psbook as ps

async def train(worker):
    for _ in range(iterations):
        await worker.pull("w")
        await worker.compute(lambda: time.sleep(0.01))
        worker.push("w", np.ones(4))
        await worker.clock()

def start(model):
    job = ps.Job(train, tables={"w": ps.Table(4)}, evaluate=lambda w: 1 / (1 + w.sum()), name="watched")
    return job.start(ps.Simulator(workers=3, servers=2, compute=ps.Exponential(0.1)), model)

iterations = 200
handle = start(ps.SSP(1))"""
WAIT = "handle.result().loss  # the kernel is busy with this while the widget changes"
ENDLESS = "iterations = 10**9\nendless = start(ps.ASP())"

PICTURE = ".jp-OutputArea-output .psbook-live svg"
HEAD = f"document.querySelector('{PICTURE} text + text')?.textContent"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), headless=True, args=list(FLAGS))
        yield chromium.new_page(viewport={"width": 1280, "height": 1200})
        chromium.close()


def write(lab: Lab, name: str, *cells: str) -> Path:
    notebook = new_notebook(cells=list(map(new_code_cell, cells)))
    notebook.metadata["kernelspec"] = KERNEL
    nbformat.write(notebook, lab.folder / name)
    return lab.folder / name


def save(page: Page) -> None:
    page.evaluate("async () => await jupyterapp.commands.execute('docmanager:save')")


def test_the_widget_changes_while_the_kernel_waits_and_leaves_a_picture(
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    notebook = write(lab, "live.ipynb", START, "handle.watch()", WAIT)
    page.goto(lab.address(notebook.name), wait_until="domcontentloaded")
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_selector(PICTURE)
    said = set()
    for _ in range(3):
        before = page.evaluate(f"() => {HEAD}")
        said.add(before)
        page.wait_for_function(f"before => {HEAD} && {HEAD} !== before", arg=before)
    assert all("running at" in each for each in said) and len(said) == 3
    page.screenshot(path=tmp_path / "while.png")
    # In the place of the widget, a picture that needs no kernel.
    page.wait_for_selector(
        ".jp-OutputArea-output.jp-RenderedSVG img, .jp-OutputArea-output.jp-RenderedSVG svg"
    )
    assert page.locator(PICTURE).count() == 0
    page.screenshot(path=tmp_path / "after.png")
    page.wait_for_selector(".jp-OutputArea-executeResult .jp-RenderedText")
    save(page)
    assert errors(notebook) == []
    bundles = [output.data for output in outputs(notebook) if "image/svg+xml" in output.get("data", {})]
    assert len(bundles) == 1
    assert "application/vnd.jupyter.widget-view+json" not in bundles[0]
    assert "watched, SSP(1): ended at" in bundles[0]["text/plain"]
    assert "ended at" in bundles[0]["image/svg+xml"]


def test_the_button_stops_a_run(lab: Lab, page: Page, tmp_path: Path) -> None:
    notebook = write(lab, "stop.ipynb", START.replace("200", "1"), ENDLESS, "endless.watch()")
    page.goto(lab.address(notebook.name), wait_until="domcontentloaded")
    run_all_cells(page)
    page.wait_for_selector(PICTURE)
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector(
        ".jp-OutputArea-output.jp-RenderedSVG img, .jp-OutputArea-output.jp-RenderedSVG svg"
    )
    page.screenshot(path=tmp_path / "stopped.png")
    save(page)
    assert errors(notebook) == []
    bundles = [output.data for output in outputs(notebook) if "image/svg+xml" in output.get("data", {})]
    assert "Stopped: the run was stopped from outside" in bundles[0]["image/svg+xml"]

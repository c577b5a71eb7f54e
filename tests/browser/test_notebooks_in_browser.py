"""The book as a reader meets it: JupyterLab in a browser, all cells run, every picture drawn."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.sync_api import Page, sync_playwright

from tests.browser.lab import (
    FLAGS,
    Lab,
    browser,
    errors,
    expected_pictures,
    jupyterlab,
    pictures,
    run_all_cells,
)

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
LONGER = ("03_experiments", "07_predict")
"""Half a minute and more; the fast tier runs them without a browser."""

NOTEBOOKS = sorted(path for path in FOLDER.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
SECONDS = 180

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(SECONDS),
    pytest.mark.skipif(browser() is None, reason="no Chromium (Debian: apt-get install chromium)"),
]

# A notebook that names no kernel makes JupyterLab ask for one.
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
VECTOR = """from IPython.display import SVG
SVG('<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><circle cx="9" cy="9" r="8"/></svg>')"""
BROKEN_IMAGE = "from IPython.display import HTML\nHTML('<img src=\"data:image/png;base64,AAAA\">')"
WIDGET = "import ipywidgets\nipywidgets.IntSlider(value=7, description='staleness')"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), headless=True, args=list(FLAGS))
        yield chromium.new_page(viewport={"width": 1280, "height": 1600})
        chromium.close()


def show(page: Page, lab: Lab, notebook: Path, screenshot: Path) -> None:
    page.goto(lab.address(notebook.name), wait_until="domcontentloaded")
    run_all_cells(page)
    page.screenshot(path=screenshot, full_page=True)


def write(lab: Lab, name: str, *cells: str) -> Path:
    path = lab.folder / name
    notebook = new_notebook(cells=[new_markdown_cell("# A page"), *map(new_code_cell, cells)])
    notebook.metadata["kernelspec"] = KERNEL
    nbformat.write(notebook, path)
    return path


def test_a_plot_a_vector_and_a_widget_are_drawn(lab: Lab, page: Page, tmp_path: Path) -> None:
    notebook = write(lab, "drawn.ipynb", PLOT, VECTOR, WIDGET)
    show(page, lab, notebook, tmp_path / "drawn.png")
    assert errors(notebook) == []
    assert pictures(page, 2) == [True, True]
    assert page.locator(".jupyter-widgets .widget-readout").inner_text() == "7"


def test_an_error_and_a_broken_picture_are_seen(lab: Lab, page: Page, tmp_path: Path) -> None:
    notebook = write(lab, "broken.ipynb", BROKEN_IMAGE, "1 / 0", PLOT)
    show(page, lab, notebook, tmp_path / "broken.png")
    assert errors(notebook) == ["ZeroDivisionError"]
    assert pictures(page, 1) == [False]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in LONGER else [])
        for path in NOTEBOOKS
    ],
)
def test_notebook_runs_and_its_pictures_are_drawn(path: Path, lab: Lab, page: Page, tmp_path: Path) -> None:
    notebook = Path(shutil.copy(path, lab.folder))
    show(page, lab, notebook, tmp_path / f"{path.stem}.png")
    assert errors(notebook) == []
    assert all(pictures(page, max(1, expected_pictures(notebook))))

"""Every notebook of the book is stored bare, is made of short cells, and runs from top to bottom."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(path for path in FOLDER.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
LONGEST_CELL = 15  # lines; longer code belongs into the package, where it is tested
SECONDS = 120  # a reader waits no longer, on two cores

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


@every_notebook
def test_is_stored_without_outputs(path: Path) -> None:
    stored = [n for n, cell in enumerate(code_cells(path), 1) if cell.outputs or cell.execution_count]
    assert not stored, f"code cells {stored} hold outputs; remedy: nbstripout {path.name}"


@every_notebook
def test_cells_are_short(path: Path) -> None:
    lines = {n: len(cell.source.splitlines()) for n, cell in enumerate(code_cells(path), 1)}
    assert not {n: length for n, length in lines.items() if length > LONGEST_CELL}


@every_notebook
def test_begins_with_a_title_and_explains_itself(path: Path) -> None:
    cells = read(path).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert sum(cell.cell_type == "markdown" for cell in cells) >= len(cells) // 3


@every_notebook
def test_names_the_kernel_that_every_installation_has(path: Path) -> None:
    assert read(path).metadata.kernelspec.name == "python3"


@pytest.mark.notebook
@pytest.mark.timeout(SECONDS)
@every_notebook
def test_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the tests' own choice; a reader's plots are inline
    notebook = read(path)
    # Elsewhere than beside its file: a notebook of the book needs the package and nothing else.
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(tmp_path)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    bundles = [output.data for output in outputs if "data" in output]
    assert bundles, "a notebook without a single result teaches nothing"
    widgets = [data for data in bundles if "application/vnd.jupyter.widget-view+json" in data]
    bare = [data["text/plain"] for data in widgets if not {"image/svg+xml", "image/png"} & set(data)]
    assert not bare, f"these widgets are blank in a static view: {bare}"

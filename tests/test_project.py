"""The project about itself: what its files promise of one another."""

import ast
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import psbook

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(next(iter(psbook.__path__)))
FAST_TIER = 25 * 60  # seconds


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def ci() -> str:
    return (ROOT / ".ci" / "run").read_text()


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def dependencies(pyproject: dict[str, Any]) -> list[str]:
    names = [re.match(r"[\w-]+", line) for line in pyproject["project"]["dependencies"]]
    return [name.group() for name in names if name]


def test_readme_has_one_command_for_the_main_job_and_one_for_the_tests(readme: str, ci: str) -> None:
    main, tests = fenced(readme, "bash")
    assert main.count("\n") == tests.count("\n") == 1, "one command each"
    assert main.endswith("psbook compare\n") and tests.endswith("pytest -n auto\n")
    assert '"$(readme 1)"' in ci and '"$(readme 2)"' in ci, ".ci/run runs them to the letter"


def test_readme_links_lead_somewhere(readme: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_example_is_python_and_uses_what_exists(readme: str) -> None:
    examples = fenced(readme, "python")
    names = {
        node.attr
        for example in examples
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ps"
    }
    assert {"Job", "Simulator", "Dask", "SSP"} <= names
    assert {name for name in names if not hasattr(psbook, name)} == set()


def test_every_dependency_is_used_and_explained(readme: str, dependencies: list[str]) -> None:
    explained = re.findall(r"\*\*([\w-]+)\*\*", readme.partition("## What each dependency is for")[2])
    assert sorted(explained) == sorted(dependencies)
    source = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    module = {"scikit-learn": "sklearn"}
    unused = [
        name
        for name in dependencies
        if not re.search(rf"^\s*(>>> )?(import|from) .*\b{module.get(name, name)}\b", source, re.MULTILINE)
    ]
    assert unused == []


def test_every_dependency_is_pinned_by_the_constraints(pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert {re.split(r"[<>=\[]", line)[0] for line in wanted} - {"psbook"} - pinned == set()


def test_installed_version_is_the_projects(pyproject: dict[str, Any]) -> None:
    assert importlib.metadata.version("psbook") == pyproject["project"]["version"]
    assert psbook.__version__ == pyproject["project"]["version"]


def test_fast_tier_has_a_budget_under_25_minutes(ci: str) -> None:
    fast = ci.partition('if [ "$all" = yes ]')[0]
    budgets = re.findall(r'^\s*(?:part|tests) ".*?" (\d+) ', fast, re.MULTILINE)
    assert len(budgets) == 9
    assert sum(map(int, budgets)) < FAST_TIER


def test_files_name_no_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: what belongs to the project is not known")
    path = re.compile(rb"(?<![\w.$}])/(?:home|root|tmp|work|Users)/\w")
    named = [name for name in listed.stdout.split("\0") if name and path.search((ROOT / name).read_bytes())]
    assert named == []


def modules() -> list[ModuleType]:
    names = [module.name for module in pkgutil.walk_packages(psbook.__path__, "psbook.")]
    return [psbook, *(importlib.import_module(name) for name in names if not name.endswith("__main__"))]


def public(module: ModuleType) -> list[tuple[str, Any]]:
    """Return the public classes and functions of ``module``, defined or exported, with their methods."""
    exported = getattr(module, "__all__", None)
    found: list[tuple[str, Any]] = []
    for name, thing in vars(module).items():
        own = getattr(thing, "__module__", "") == module.__name__
        if name.startswith("_") or not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        if own or (exported is not None and name in exported):
            found.append((f"{module.__name__}.{name}", thing))
            if inspect.isclass(thing):
                methods = inspect.getmembers(thing, inspect.isfunction)
                found += [
                    (f"{module.__name__}.{name}.{method}", function)
                    for method, function in methods
                    if not method.startswith("_") and function.__module__.startswith("psbook")
                ]
    return found


def test_every_public_name_has_a_docstring() -> None:
    things = [(module.__name__, module) for module in modules()]
    things += [pair for module in modules() for pair in public(module)]
    assert len(things) > 50
    assert sorted({name for name, thing in things if not inspect.getdoc(thing)}) == []


def test_exports_exist_once_and_in_order() -> None:
    for module in modules():
        exported = getattr(module, "__all__", [])
        assert len(set(exported)) == len(exported), module.__name__
        assert [name for name in exported if not hasattr(module, name)] == [], module.__name__


def test_core_imports_the_standard_library_and_numpy_only() -> None:
    imported = set()
    for path in (PACKAGE / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module or "")
    roots = {name.partition(".")[0] for name in imported}
    assert roots - set(sys.stdlib_module_names) <= {"numpy", "psbook"}
    assert not roots & {"asyncio", "random", "secrets", "socket", "threading", "time"}
    inside = {name for name in imported if name.startswith("psbook")}
    assert {name for name in inside if not re.match(r"psbook\.(core|errors)\b", name)} == set()


def test_importing_psbook_draws_nothing() -> None:
    view = ("matplotlib.pyplot", "ipywidgets", "psbook.view")
    code = f"import sys, psbook; print([name for name in {view} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"

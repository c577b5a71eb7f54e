"""The pages on deployment and security: what can run here runs, to the letter but for addresses."""

import os
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest

PAGES = ["deployment.md", "security.md"]


def blocks(project, page):
    """Return what each code block is marked to do, its language and its text."""
    text = (project / "notebooks" / page).read_text()
    found = re.findall(r"(?:<!-- runs(?:: (\w+))? -->\n)?```(\w+)\n(.*?)```", text, re.DOTALL)
    marked = re.findall(r"(<!-- runs.*?-->\n)?```\w+\n.*?```", text, re.DOTALL)
    return [(mark and (name or "here"), *rest) for mark, (name, *rest) in zip(marked, found, strict=True)]


def marked(project, *marks):
    return {
        (mark, language): text for mark, language, text in blocks(project, "deployment.md") if mark in marks
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_compiles_and_every_link_inside_the_project_leads_somewhere(project, page):
    for _, language, text in blocks(project, page):
        if language == "python":
            compile(text, page, "exec")
    folder = project / "notebooks"
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", (folder / page).read_text()):
        assert target.startswith("https://") or (folder / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_every_test_and_error_that_a_page_names_is_there(project, page):
    text = (project / "notebooks" / page).read_text()
    for name in re.findall(r"`(tests/[\w/*.]+)`", text):
        assert list(project.glob(name)), name
    import psbook.errors

    for name in re.findall(r"`psbook\.errors\.(\w+)`", text):
        assert hasattr(psbook.errors, name), name


@pytest.mark.dask
@pytest.mark.slow
def test_the_clusters_on_this_machine_run(project, capsys):
    names = {"__name__": "__main__"}
    for mark, language, text in blocks(project, "deployment.md"):
        if (mark, language) == ("here", "python"):
            exec(compile(text, "deployment.md", "exec"), names)
    said = capsys.readouterr().out
    assert [said.count(f"logistic regression: {model} on dask") for model in ("BSP", "SSP(3)")] == [1, 2]


@pytest.mark.dask
@pytest.mark.slow
def test_the_cluster_by_the_command_line_runs_with_its_certificates(
    project, commands, tmp_path, monkeypatch, capsys
):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl: it makes the certificates of the page")
    port = free_port()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def here(text):
        text = text.replace("10.0.0.1", "127.0.0.1").replace("10.0.0.2", "127.0.0.1")
        return text.replace("8786", str(port)).replace(":8787", ":0")

    page = marked(project, "here", "scheduler", "worker", "client")
    certificates = commands.start("certificates", "bash", "-euc", page["here", "bash"], PATH=path)
    assert certificates.wait(60) == 0, commands.output("certificates").read_text()
    scheduler = commands.start("scheduler", "bash", "-euc", here(page["scheduler", "bash"]), PATH=path)
    commands.wait_for("scheduler", "Scheduler at:", scheduler)
    worker = commands.start("worker", "bash", "-euc", here(page["worker", "bash"]), PATH=path)
    commands.wait_for("worker", "Registered to:", worker)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    local = [text for mark, language, text in blocks(project, "deployment.md") if mark == "here"]
    (tmp_path / "train.py").write_text(local[0].split("if __name__")[0])  # the job
    monkeypatch.syspath_prepend(tmp_path)
    exec(compile(here(page["client", "python"]), "deployment.md", "exec"), names)
    assert "SSP(3) on dask, 4 workers in" in capsys.readouterr().out


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

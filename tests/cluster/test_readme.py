"""The examples of the README run, to the letter, on the simulator and on real processes."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest


@pytest.mark.dask
def test_the_readme_example_runs_on_both_backends(project, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (project / "README.md").read_text(), re.DOTALL)
    example, survives, live, thousands, predicts, *_ = blocks
    names = {"__name__": "__main__"}
    exec(compile(example, "README.md", "exec"), names)
    plt.close("all")
    first = names["run"]
    exec(compile(survives, "README.md", "exec"), names)
    assert names["run"].check().ok
    names["run"] = first
    assert (tmp_path / "timeline.png").stat().st_size > 10_000
    assert names["run"].meta["backend"] == "dask"
    assert names["run"].loss < 0.2
    assert "loss" in capsys.readouterr().out
    exec(compile(live, "README.md", "exec"), names)
    assert "ended at" in capsys.readouterr().out and names["handle"].done
    exec(compile(thousands, "README.md", "exec"), names)
    assert "SSP(3)" in capsys.readouterr().out
    exec(compile(predicts, "README.md", "exec"), names)
    assert np.array_equal(names["again"], names["run"].tables["w"])
    assert "Interval(value=" in capsys.readouterr().out

"""Recorded times: what a file says is what comes out, and a wrong file is refused with its line."""

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from psbook.errors import DataError, InvalidJob
from psbook.laws import Empirical, Recorded


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "times.csv") -> Path:
        path = tmp_path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


TABLE = "worker,seconds\n10,0.5\n9,0.1\n10,0.25\n9,0.2\n9,0.3\n"


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.tsv.gz", "t.parquet"])
def test_every_format_gives_each_workers_times_in_file_order(write, tmp_path, name):
    if name == "t.parquet":
        path = tmp_path / name
        pd.DataFrame({"worker": [10, 9, 10, 9, 9], "seconds": [0.5, 0.1, 0.25, 0.2, 0.3]}).to_parquet(path)
    else:
        path = write(TABLE.replace(",", "\t") if ".tsv" in name else TABLE, name)
    law = Recorded(path, "seconds", worker="worker")
    assert law.names == ("9", "10")  # sorted as numbers
    np.testing.assert_array_equal(law.times(0, 5, seed=0), [0.1, 0.2, 0.3, 0.1, 0.2])
    np.testing.assert_array_equal(law.times(1, 3, seed=0), [0.5, 0.25, 0.5])
    assert law.mean == pytest.approx((0.2 + 0.375) / 2)
    assert law.mean_of(3) == pytest.approx(0.375)


def test_more_workers_than_recorded_start_at_random_places(write):
    law = Recorded(write("\n".join(map(str, range(1, 101)))))
    starts = law.matrix(workers=30, count=2, seed=0)
    assert (starts[0] == [1, 2]).all()
    assert (starts[:, 1] - starts[:, 0] % 100 == 1).all()
    assert np.unique(starts[:, 0]).size > 15


def test_bootstrap_draws_from_the_workers_own_samples():
    law = Empirical([[1.0, 2.0, 4.0], [3.0]], "bootstrap")
    times = law.times(0, 30_000, seed=1)
    shares = [np.mean(times == value) for value in (1.0, 2.0, 4.0)]
    assert sum(shares) == 1
    np.testing.assert_allclose(shares, 1 / 3, atol=4 * np.sqrt(2 / 9 / 30_000))
    assert (law.times(1, 5, seed=1) == 3.0).all()


def test_one_each_makes_machines_that_differ_for_good():
    law = Empirical([1.0, 2.0, 3.0], "one each")
    times = law.matrix(workers=300, count=4, seed=2)
    assert (times == times[:, :1]).all()
    assert set(times[:, 0]) == {1.0, 2.0, 3.0}


def test_units_and_speeds(write):
    path = write("2\n4\n")
    np.testing.assert_array_equal(Recorded(path, scale=0.001).times(0, 2, seed=0), [0.002, 0.004])
    np.testing.assert_array_equal(Recorded(path, scale=8, speed=True).times(0, 2, seed=0), [4, 2])
    np.testing.assert_allclose(Recorded(path).with_mean(0.1).times(0, 2, seed=0), [0.2 / 3, 0.4 / 3])


def test_blank_lines_and_headless_files(write):
    np.testing.assert_array_equal(Recorded(write("s\n\n1\n\n2\n\n")).times(0, 2, seed=0), [1, 2])
    np.testing.assert_array_equal(Recorded(write("5,1\n6,2\n"), "1").times(0, 2, seed=0), [1, 2])


def test_the_law_carries_the_samples_along(write):
    path = write(TABLE)
    law = Recorded(path, "seconds")
    path.unlink()
    copy = pickle.loads(pickle.dumps(law))
    assert copy == law and hash(copy) == hash(law)
    np.testing.assert_array_equal(copy.times(0, 9, seed=0), law.times(0, 9, seed=0))


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", None, "is empty"),
        ("seconds\n", None, "has no rows"),
        ("seconds\n\n\n", None, "has no rows"),
        (TABLE, None, "columns worker, seconds; required: which one"),
        (TABLE, "time", "no column 'time'; it has worker, seconds"),
        ("seconds\n0.1\n0\n", None, r"line 3: column 'seconds' is '0.0'"),
        ("seconds\n0.1\n-2\n", None, "line 3"),
        ("seconds\n\n0.1\nfast\n-1\n", None, r"line 4: column 'seconds' is 'fast'.*\(2 of 3 rows"),
        ("a,seconds\n1,0.1\n1,\n", "seconds", "line 3.*nan"),
        ("0.1\n0.2\ninf\n", None, "line 3.*inf"),
        ("a\n1,2,3\n4\n5,6,7,8\n", None, "required: "),
    ],
)
def test_wrong_files_are_refused_by_line(write, text, column, message):
    with pytest.raises(DataError, match=message):
        Recorded(write(text), column)


def test_unreadable_files_are_refused(write, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        Recorded(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="cannot be read"):
        Recorded(tmp_path)
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        Recorded(write("seconds\n1\n", "t.parquet"))
    broken = write(TABLE * 50, "t.csv.gz")
    broken.write_bytes(broken.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read as CSV"):
        Recorded(broken)
    with pytest.raises(DataError, match="line 3: column 'worker' is empty"):
        Recorded(write("worker,s\na,1\n,2\n"), "s", worker="worker")
    with pytest.raises(DataError, match="no column 'rank'"):
        Recorded(write(TABLE), "seconds", worker="rank")


@pytest.mark.parametrize("samples", [[], [[1.0], []], [1.0, 0.0], [float("nan")]])
def test_wrong_samples_are_refused(samples):
    with pytest.raises(InvalidJob, match="required: "):
        Empirical(samples)


def test_unknown_replay_is_refused():
    with pytest.raises(InvalidJob, match="'in order', 'bootstrap', 'one each'"):
        Empirical([1.0], "backwards")


@pytest.fixture
def traces() -> Path:
    root = os.environ.get("PSBOOK_DATA")
    if not root or not (Path(root) / "traces").is_dir():
        pytest.skip("PSBOOK_DATA does not name a folder with traces/ (Alibaba and Azure recordings)")
    return Path(root) / "traces"


@pytest.mark.parametrize(("job", "rows", "mean"), [(1, 3000, 444), (2, 2402, 807), (3, 2489, 723)])
def test_alibaba_minibatch_times(traces, job, rows, mean):
    path = traces / f"alibaba_minibatch_job_{job}.csv.gz"
    law = Recorded(path, "batch_time_norm", worker="worker", scale=1e-3)
    assert law.names == tuple(map(str, range(10)))
    assert sum(part.size for part in law.empirical.arrays) == rows
    assert law.mean == pytest.approx(mean / 1000, rel=0.01)
    assert law.matrix(workers=12, count=1000, seed=0).max() <= 1.0


def test_alibaba_stragglers_keep_their_place_and_time(traces):
    """Job 1: workers 0 to 2 are 10 % slow throughout, worker 6 turns straggler for a while."""
    law = Recorded(traces / "alibaba_minibatch_job_1.csv.gz", "batch_time_norm", worker="worker")
    times = law.matrix(workers=10, count=300, seed=0)
    medians = np.median(times, axis=1)
    assert medians[:3].min() > 1.08 * medians[3:].max()
    assert np.flatnonzero(np.quantile(times, 0.99, axis=1) > 1.5 * medians).tolist() == [6]


def test_azure_machines_differ_for_good(traces):
    path = traces / "azure_memcpy_short_westus2_D8s_v5.csv.gz"
    law = Recorded(path, "value", speed=True, replay="one each").with_mean(0.1)
    machines = law.matrix(workers=500, count=3, seed=0)
    assert (machines == machines[:, :1]).all()
    speeds = pd.read_csv(path)["value"].to_numpy()
    assert stats.ks_2samp(1 / machines[:, 0] * (0.1 / np.mean(1 / speeds)), speeds).pvalue > 1e-4


def test_azure_repeated_samples_by_machine(traces):
    path = traces / "azure_sysbench_cpu_long_westus2_B8ms.csv.gz"
    law = Recorded(path, "value", worker="VM_id", speed=True)
    assert len(law.names) == 3
    assert sum(part.size for part in law.empirical.arrays) == 11_432

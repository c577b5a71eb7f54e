"""Files as partitions: cut anywhere they hold every row once, and what is wrong is named."""

import os
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import psbook as ps
from psbook import datasets
from psbook.errors import DataError, InvalidJob

ROWS = st.lists(st.lists(st.integers(-999, 999), min_size=3, max_size=3), min_size=1, max_size=12)


def write(text, name):
    """Write a file of fsspec's own memory."""
    with fsspec.open(f"memory://psbook/{name}", "w", compression="infer") as file:
        file.write(text)
    return f"memory://psbook/{name}"


def whole(partitions):
    """X and y of all partitions, X dense."""
    parts = [part.read() for part in partitions.parts]
    dense = [X if isinstance(X, np.ndarray) else X.toarray() for X, _ in parts]
    return np.concatenate(dense).tolist(), np.concatenate([y for _, y in parts]).tolist()


@given(rows=ROWS, block=st.integers(1, 80), end=st.booleans(), header=st.booleans())
def test_blocks_of_csv_hold_every_line_once(rows, block, end, header):
    lines = [["a", "b", "y"]] * header + rows
    url = write("\n".join(",".join(map(str, row)) for row in lines) + "\n" * end, "cut.csv")
    data = ps.read(url, block=block)
    assert whole(data) == ([row[:2] for row in rows], [row[2] for row in rows])
    by_name = ps.read(url, target="a" if header else 0, features=["y"] if header else ["2"], block=block)
    assert whole(by_name) == ([row[2:] for row in rows], [row[0] for row in rows])


@given(rows=ROWS, block=st.integers(1, 80), zero_based=st.booleans())
def test_blocks_of_svmlight_hold_every_line_once(rows, block, zero_based):
    lines = [
        " ".join([str(row[2]), *(f"{i + (not zero_based)}:{v}" for i, v in enumerate(row[:2]) if v)]) + "\n"
        for row in rows
    ]
    data = ps.read(
        write("".join(lines), "cut.svm"), features=5, block=block, zero_based=zero_based, signs=False
    )
    assert whole(data) == ([[*row[:2], 0, 0, 0] for row in rows], [row[2] for row in rows])


def test_parquet_is_cut_between_row_groups(tmp_path):
    frame = pd.DataFrame({"a": np.arange(1000.0), "b": -np.arange(1000.0), "y": np.arange(1000) % 2})
    frame[:600].to_parquet(tmp_path / "rows-0.parquet", row_group_size=100)
    frame[600:].to_parquet(tmp_path / "rows-1.parquet")
    pattern = str(tmp_path / "*.parquet")
    small, large = ps.read(pattern, target="y", block=2000), ps.read(pattern, target="y")
    assert len(large) == 2 < len(small)
    for data in (small, large):
        assert whole(data) == (frame[["a", "b"]].to_numpy().tolist(), frame.y.tolist())
    assert whole(ps.read(pattern, target="y", features=["b"]))[0] == frame[["b"]].to_numpy().tolist()


def test_a_pattern_takes_files_by_name_and_compressed_ones_whole():
    for i in range(3):
        write("".join(f"{k} 1:{k}\n" for k in range(i * 10, i * 10 + 10)), f"many/{2 - i}.svm.gz")
    data = ps.read("memory://psbook/many/*.svm.gz", features=1, block=1)
    assert len(data) == 3
    assert whole(data)[1] == [*range(20, 30), *range(10, 20), *range(10)]


def test_signs_become_classes_and_others_are_left():
    url = write("-1 1:1\n+1 1:2\n", "signs.svm")
    assert whole(ps.read(url, features=1))[1] == [0, 1]
    assert whole(ps.read(url, features=1, signs=False))[1] == [-1, 1]
    half = whole(ps.read(write("0.5 1:1\n", "half.svm"), features=1))[1]
    assert half == [0.5]


def test_what_datasets_read_is_the_same(tmp_path):
    path = tmp_path / "rows.svm"
    path.write_text("+1 1:0.5 3:2\n-1 2:1\n")
    X, y = datasets.read(path)
    (mine, labels) = ps.read(path, features=3, labels="int64").parts[0].read()
    assert mine.dtype == X.dtype and mine.toarray().tolist() == X.toarray().tolist()
    assert labels.dtype == y.dtype and labels.tolist() == y.tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ps.read("nowhere/rows.csv"), "nowhere/rows.csv does not exist"),
        (lambda: ps.read("memory://psbook/none-*.csv"), "matches no file"),
        (lambda: ps.read("memory://psbook"), "is a folder"),
        (lambda: ps.read("strange://a/b.csv"), "strange.*cannot be opened"),
        (lambda: ps.read(write("1,2\n", "rows.dat")), r"rows.dat.*kind='svmlight', 'csv' or 'parquet'"),
        (lambda: ps.read(write("", "empty.csv")), "is empty"),
        (lambda: ps.read(write("a,b\n1,2\n", "t.csv"), target="z"), "columns a, b; required: target='z'"),
        (lambda: ps.read(write("a,b\n1,2\n", "t.csv"), target=5), "target=5"),
        (lambda: ps.read(write("a,b\n1,2\n", "t.csv"), features=["c"]), "no columns c, only a, b"),
        (lambda: ps.read(write("a\n1\n", "one.csv")), "the one column a"),
        (lambda: ps.read(write("no", "bad.parquet")), "bad.parquet.*Parquet file"),
    ],
)
def test_what_cannot_be_found_is_named_at_once(call, message):
    with pytest.raises(DataError, match=message):
        call()


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "features=None.*whole"), ({"features": 0}, "features=0"), ({"features": 3, "block": 0}, "block=0")],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InvalidJob, match=message):
        ps.read(write("1 1:1\n", "options.svm"), **options)


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("bad.csv", "a,y\n1,2\n3,x\n", {}, r"bad.csv: line 3, column 'y': 'x' is not a number"),
        ("bad.csv", "1,2\n3\n", {}, r"bad.csv: line 2: 1 fields"),
        ("bad.csv", "1,2\n3,nan\n", {}, r"bad.csv: line 2.*not finite"),
        ("bad.svm", "1 1:1\n0 2:x\n", {"features": 2}, r"bad.svm: line 2: value 'x'"),
        ("bad.svm", "1 1:1\n0 3:1\n", {"features": 2}, r"3 features, and features=2"),
        ("bad.svm", "1 0:1\n", {"features": 2}, r"index '0'|feature 0"),
        ("bad.svm", "-1 1:1\n2 1:1\n", {"features": 2}, r"labels -1 and 2.*signs=False"),
    ],
)
def test_a_faulty_line_is_named_when_it_is_read(name, text, options, message):
    with pytest.raises(DataError, match=message):
        ps.read(write(text, name), **options).parts[0].read()


def test_the_block_of_a_faulty_line_is_named():
    data = ps.read(write("1,2\n" * 10 + "3,x\n", "late.csv"), block=20)
    with pytest.raises(DataError, match=r"late.csv, bytes 40 to 44: line 1, column '1': 'x'"):
        data.parts[-1].read()


def test_files_of_other_columns_are_named(tmp_path):
    (tmp_path / "0.csv").write_text("a,y\n1,2\n")
    (tmp_path / "1.csv").write_text("b,y\n1,2\n")
    data = ps.read(str(tmp_path / "*.csv"))
    with pytest.raises(DataError, match=r"1.csv: the columns b, y; required: those of the first file, a, y"):
        data.parts[1].read()


def test_a_real_file_reads_as_a_whole_and_in_blocks(tmp_path):
    folder = os.environ.get("PSBOOK_DATA")
    path = Path(folder or "", "sparse", "heart_scale.libsvm")
    if folder is None or not path.exists():
        pytest.skip(f"{path}: not found; PSBOOK_DATA names the folder with real data (now {folder})")
    X, y = datasets.read(path)
    data = ps.read(path, features=13, block=3000)
    assert len(data) > 4
    found = whole(data)
    assert found[0] == X.toarray().tolist() and found[1] == y.tolist()
    assert X.shape == (270, 13)


def test_labels_have_one_dtype_in_all_partitions_whatever_their_numbers():
    url = write("1 1:1\n2 1:1\n0.5 1:1\n", "mixed.svm")
    parts = ps.read(url, features=1, block=6).parts
    assert len(parts) > 1 and {part.read()[1].dtype for part in parts} == {np.dtype("float32")}
    classes = ps.read(write("1 1:1\n2 1:1\n", "classes.svm"), features=1, block=6, labels="int64").parts
    assert {part.read()[1].dtype for part in classes} == {np.dtype("int64")}
    with pytest.raises(DataError, match=r"the label 0\.5; required: whole numbers, or labels='float32'"):
        ps.read(url, features=1, labels="int64").parts[0].read()
    with pytest.raises(InvalidJob, match="labels='int32'"):
        ps.read(url, features=1, labels="int32")

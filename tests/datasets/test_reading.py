"""Files in, rows out; and for each way a file can be wrong, the file and the line."""

import gzip

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import dump_svmlight_file

from psbook.datasets import read
from psbook.errors import DataError

X = np.array([[0.0, 1.5, -2.0], [3.0, 0.0, 0.25]])
Y = np.array([1, 0])


def write(folder, name, text):
    path = folder / name
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("suffix", [".svm", ".libsvm", ".txt", ".svm.gz"])
@pytest.mark.parametrize("zero_based", [True, False])
def test_svmlight_comes_back_as_written(tmp_path, suffix, zero_based):
    dump_svmlight_file(X[:, ::-1], Y, str(tmp_path / "plain"), zero_based=zero_based)
    found, y = read(write(tmp_path, f"rows{suffix}", (tmp_path / "plain").read_bytes()))
    assert isinstance(found, sparse.csr_array)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.toarray(), X[:, ::-1])
    assert y.dtype == np.int64
    assert y.tolist() == [1, 0]


def test_the_number_of_features_can_be_that_of_another_file(tmp_path):
    path = write(tmp_path, "a.svm", "1 1:2\n")
    assert read(path)[0].shape == (1, 1)
    assert read(path, n_features=5)[0].shape == (1, 5)
    with pytest.raises(DataError, match=r"b\.svm: .*contains 7 features"):
        read(write(tmp_path, "b.svm", "1 1:2\n1 7:1\n"), n_features=3)


@pytest.mark.parametrize(
    ("labels", "expected", "dtype"),
    [
        (["-1", "+1"], [0, 1], np.int64),
        (["1", "2"], [1, 2], np.int64),
        (["-1", "0"], [-1, 0], np.int64),
        (["1", "1"], [1, 1], np.int64),
        (["0.5", "-1"], [0.5, -1], np.float32),
        (["1e17", "3"], [np.float32(1e17), 3], np.float32),
    ],
)
def test_labels(tmp_path, labels, expected, dtype):
    path = write(tmp_path, "a.svm", "".join(f"{label} 1:1\n" for label in labels))
    y = read(path)[1]
    assert y.tolist() == expected
    assert y.dtype == dtype


def test_signs_can_be_kept(tmp_path):
    assert read(write(tmp_path, "a.svm", "-1 1:1\n1 1:1\n"), signs=False)[1].tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("plain.csv", "0,1.5,-2,1\n3,0,.25,0\n", {}),
        ("gz.csv.gz", "0,1.5,-2,1\n3,0,.25,0\n", {}),
        ("tabs.tsv", "0\t1.5\t-2\t1\n3\t0\t.25\t0\n", {}),
        ("semi.csv", "0;1.5;-2;1\n3;0;.25;0\n", {"delimiter": ";"}),
        ("named.csv", "a,b,c,y\n0,1.5,-2,1\n3,0,.25,0\n", {}),
        ("named.csv", "a,b,c,y\n0,1.5,-2,1\n3,0,.25,0\n", {"label": "y"}),
        ("first.csv", "y, a, b, c\n1, 0, 1.5, -2\n0, 3, 0, .25\n", {"label": "y"}),
        ("first.csv", "1,0,1.5,-2\n0,3,0,.25\n", {"label": 0}),
        ("years.csv", "1,2,3,4\n0,1.5,-2,1\n3,0,.25,0\n", {"header": True}),
        ("bare.csv", "0,1.5,-2,1\n3,0,.25,0", {"header": False}),
        ("windows.csv", "\ufeff0,1.5,-2,1\r\n\r\n3,0,.25,0\r\n", {}),
        ("quoted.csv", '"a, b","b","c","y"\n"0",1.5,-2,1\n3,0,.25,0\n', {}),
    ],
)
def test_csv(tmp_path, name, text, options):
    found, y = read(write(tmp_path, name, text), **options)
    np.testing.assert_array_equal(found, X)
    assert found.dtype == np.float32
    assert y.tolist() == [1, 0]


def test_parquet(tmp_path):
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=Y == 1)
    frame.to_parquet(tmp_path / "a.parquet")
    for label in (-1, 3, "y"):
        found, y = read(tmp_path / "a.parquet", label=label)
        np.testing.assert_array_equal(found, X)
        assert y.tolist() == [1, 0]


def test_the_kind_can_be_given(tmp_path):
    np.testing.assert_array_equal(read(write(tmp_path, "a.data", "0,1\n2,3\n"), kind="csv")[1], [1, 3])
    with pytest.raises(DataError, match="cannot tell what kind"):
        read(tmp_path / "a.data")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.svm", "1 1:1\n1 2;3\n", "line 2: '2;3' has no ':'"),
        ("a.svm", "1 1:1\n\n1 2:x\n", "line 3: value 'x' is not a number"),
        ("a.svm", "1 1:1\n1 2:\n", "line 2: value '' is not a number"),
        ("a.svm", "1 1:1\nspam 2:1\n", "line 2: label 'spam' is not a number"),
        ("a.svm", "1 1:1\n1,2 2:1\n", "line 2: label '1,2' is not a number"),
        ("a.svm", "1 1:1\n1 3:1 2:1\n", "line 2: index 2 comes after 3"),
        ("a.svm", "1 1:1\n1 2:1 2:1\n", "line 2: index 2 comes after 2"),
        ("a.svm", "1 1:1\n1 -2:1\n", "line 2: index '-2'"),
        ("a.svm", "1 1:1\n1 1.5:1\n", "line 2: index '1.5'"),
        ("a.svm", f"1 1:1\n1 {10**30}:1\n", "line 2: index '1000"),
        ("a.svm", "1 1:1\n1 2:nan\n", "line 2: value 'nan' is not finite"),
        ("a.svm", "1 1:1\ninf 2:1\n", "line 2: label 'inf' is not finite"),
        ("a.svm", "1 1:1\n1 2:1e300\n", "line 2: value '1e300' is too large"),
        ("a.svm.gz", "1 1:1\n1 2\n", "line 2: '2' has no ':'"),
        ("a.svm", b"1 1:1\n\xff\xfe 2:1\n", "line 2: label"),
        ("a.svm", "", "is empty"),
        ("a.svm", "# only a remark\n", "has no rows"),
        ("a.svm.gz", "", "has no rows"),
        ("a.csv", "", "is empty"),
        ("a.csv", "\n\n", "has no rows"),
        ("a.csv", "a,b\n", "has no rows"),
        ("a.csv", "1,2,3\n4,5\n", "line 2: 2 fields; required are 3"),
        ("a.csv", "1,2,3\n\n4,5,6,7\n", "line 3: 4 fields; required are 3"),
        ("a.csv", "a,b,c\n1,2\n4,5\n", "line 2: 2 fields; required are 3"),
        ("a.csv", "a,b,y\n1,2,3\n4,five,6\n", "line 3, column 'b': 'five' is not a number"),
        ("a.csv", "1,?,3\n4,5,6\n", "line 1, column '1': '?' is not a number"),
        ("a.csv", "a,b,y\n1,,3\n", "line 2, column 'b': the field is empty"),
        ("a.csv", "a,b,y\n1,nan,3\n", "line 2, column 'b': 'nan' is not finite"),
        ("a.csv", "a,b,y\n1,2,-inf\n", "line 2, column 'y': '-inf' is not finite"),
        ("a.csv", "a,b,y\n1,1e300,3\n", "line 2, column 'b': '1e300' is too large"),
        ("a.csv.gz", "1,2\n3,x\n", "line 2, column '1': 'x' is not a number"),
        ("a.csv", "1\n2\n", "at least two"),
    ],
)
def test_a_malformed_text_is_refused_with_file_and_line(tmp_path, name, text, message):
    path = write(tmp_path, name, text)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["x", "y"], "column 'b' is of type"),
        ([1.0, None], "column 'b', row 1 (from 0): missing"),
        ([np.inf, 1.0], "column 'b', row 0 (from 0): inf is not a finite"),
    ],
)
def test_an_unfit_parquet_column_is_refused_by_name(tmp_path, column, message):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"a": [1.0, 2.0], "b": column}).to_parquet(path)
    with pytest.raises(DataError) as caught:
        read(path)
    assert f"{path}: {message}" in str(caught.value)


def test_a_file_that_is_not_what_its_name_says(tmp_path):
    for name in ("a.parquet", "a.csv.gz", "a.svm.gz"):
        path = tmp_path / name
        path.write_bytes(b"this is neither gzip nor Parquet")
        with pytest.raises(DataError, match=name):
            read(path)


@pytest.mark.parametrize("name", ["a.svm.gz", "a.csv.gz"])
def test_an_archive_that_was_cut_off(tmp_path, name):
    line = {"a.svm.gz": "1 1:{}\n", "a.csv.gz": "1,{}\n"}[name]
    whole = gzip.compress("".join(line.format(i * 0.37) for i in range(2000)).encode())
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=name):
        read(tmp_path / name)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(DataError, match=r"gone\.svm does not exist"):
        read(tmp_path / "gone.svm")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path / "folder.csv")


@pytest.mark.parametrize("label", ["z", 2, -3])
def test_a_label_column_that_is_not_there(tmp_path, label):
    with pytest.raises(DataError, match=r"columns a, y; required.*label="):
        read(write(tmp_path, "a.csv", "a,y\n1,2\n"), label=label)


def test_an_index_0_where_they_were_said_to_start_at_1(tmp_path):
    with pytest.raises(DataError, match="line 2: index '0'"):
        read(write(tmp_path, "a.svm", "1 1:1\n1 0:1\n"), zero_based=False)

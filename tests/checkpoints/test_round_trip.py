"""What is written is what is read: every dtype, shape, name and meta, on every kind of filesystem."""

import hashlib
import json
import math
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import psbook
from psbook.checkpoints import CheckpointStore
from psbook.errors import CheckpointError
from tests.checkpoints.saving import assert_whole, files, read_file, save

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
DTYPES = st.one_of(
    hnp.scalar_dtypes(), hnp.unicode_string_dtypes(), hnp.byte_string_dtypes(), hnp.nested_dtypes()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def assert_same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert found.tobytes() == wanted.tobytes(), "also NaN and -0.0 keep their bits"


@given(
    arrays=st.dictionaries(st.text() | st.just("file"), hnp.arrays(DTYPES, SHAPES), max_size=3),
    name=st.text(),
    meta=st.dictionaries(st.text(), JSON, max_size=3),
)
@settings(max_examples=200)
def test_any_arrays_names_and_meta(arrays: dict[str, np.ndarray], name: str, meta: dict[str, Any]) -> None:
    store = CheckpointStore("memory://any", keep=1)
    store.commit(0, [store.write_part(0, name, arrays, meta)], meta)
    checkpoint = store.read()
    assert checkpoint.parts == (name,) and checkpoint.meta == meta
    found, found_meta = checkpoint.part(name)
    assert found_meta == meta and list(found) == list(arrays)
    for key, array in arrays.items():
        assert_same(found[key], array)
        assert found[key].flags.writeable


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "int4"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_dtypes_of_jax(url: str, dtype: str, shape: tuple[int, ...]) -> None:
    import jax.numpy as jnp

    array = jnp.ones(shape, dtype) * jnp.asarray(3, dtype)
    store = CheckpointStore(url)
    store.commit(1, [store.write_part(1, "p", {"x": array})])
    found = store.read().part("p")[0]["x"]
    assert found.dtype.name == dtype
    assert_same(found, np.asarray(array))


def test_memory_layout_does_not_matter(url: str) -> None:
    grid = np.arange(24).reshape(4, 6)
    arrays = {"fortran": np.asfortranarray(grid), "strided": grid[::2, ::-3], "swapped": grid.astype(">i4")}
    store = CheckpointStore(url)
    store.commit(1, [store.write_part(1, "p", arrays)])
    found, _ = store.read().part("p")
    for name, array in arrays.items():
        assert_same(found[name], array)


def test_meta_keeps_nan_and_large_integers(url: str) -> None:
    meta = {"loss": math.nan, "bound": math.inf, "state": 2**127 + 1}
    store = CheckpointStore(url)
    store.commit(1, [], meta)
    found = store.read().meta
    assert math.isnan(found["loss"]) and found["bound"] == math.inf and found["state"] == 2**127 + 1


@pytest.mark.parametrize(
    ("meta", "named"),
    [
        ({"clocks": {0: 3}}, r'\["clocks"\] has the key 0'),
        ({"a": [1, {2}]}, r'\["a"\]\[1\] is a set'),
        ({"w": np.arange(3)}, r'\["w"\] is a ndarray'),
    ],
)
def test_meta_that_json_would_change_is_refused(memory: str, meta: dict[str, Any], named: str) -> None:
    store = CheckpointStore(memory)
    with pytest.raises(CheckpointError, match=named):
        store.write_part(1, "p", {}, meta)
    with pytest.raises(CheckpointError, match=named):
        store.commit(1, [], meta)
    assert files(memory) == {}


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}], object),
        np.array(["long"], np.dtypes.StringDType()),
        np.zeros(2, [("a", "i4"), ("b", object)]),
    ],
)
def test_arrays_that_would_need_pickle_are_refused(url: str, array: np.ndarray) -> None:
    store = CheckpointStore(url)
    with pytest.raises(CheckpointError, match=r"part 'p' of checkpoint 1.*array 'x' has the dtype"):
        store.write_part(1, "p", {"x": array})
    assert files(url) == {}, "also the file that was begun"


def test_files_are_what_other_programs_can_read(memory: str) -> None:
    """Sizes, checksums and values, computed here without psbook's reader."""
    save(CheckpointStore(memory), 7)
    header, _, body = read_file(memory, "checkpoint-7.manifest").partition(b"\n")
    assert header.decode().endswith(hashlib.sha256(body).hexdigest())
    manifest = json.loads(body)
    assert manifest["number"] == 7 and manifest["versions"]["psbook"] == psbook.__version__
    assert len(manifest["parts"]) == 2
    for part in manifest["parts"]:
        data = read_file(memory, part["file"])
        assert len(data) == part["bytes"] and hashlib.sha256(data).hexdigest() == part["sha256"]
        assert data[:4] == b"PK\x03\x04", "a zip file"


def test_parts_are_written_by_other_processes(tmp_path: Any) -> None:
    store = CheckpointStore(tmp_path)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        waiting = [
            pool.submit(store.write_part, 4, f"s{k}", {"x": np.full(2, k)}, {"k": k}) for k in range(3)
        ]
        records = [future.result() for future in waiting]
    store.commit(4, records)
    for k in range(3):
        arrays, meta = store.read(4).part(f"s{k}")
        assert arrays["x"].tolist() == [k, k] and meta == {"k": k}


def test_store_and_checkpoint_and_record_can_be_pickled(url: str) -> None:
    store = CheckpointStore(url, keep=2)
    save(store, 1)
    copy = pickle.loads(pickle.dumps(store))
    assert (copy.url, copy.keep, copy.numbers()) == (store.url, 2, [1])
    assert_whole(pickle.loads(pickle.dumps(copy.read())), 1)
    record = store.write_part(2, "a", {})
    assert pickle.loads(pickle.dumps(record)) == record

"""Numbers, retention, several writers, and the places where a store can and cannot be."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from psbook.checkpoints import CheckpointStore
from psbook.checkpoints.manifest import number_of
from psbook.errors import CheckpointError, InvalidJob
from tests.checkpoints.saving import assert_whole, files, save, write_file


def kept(url: str) -> list[int]:
    """Return the checkpoints of which any file is left."""
    return sorted({number for name in files(url) if (number := number_of(name)) is not None})


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_stay(url: str, keep: int) -> None:
    store = CheckpointStore(url, keep)
    for done in range(1, 6):
        save(store, 10 * done)
        assert store.numbers() == kept(url) == [10 * k for k in range(1, done + 1)][-keep:]
        assert store.latest() == 10 * done
    for number in store.numbers():
        assert_whole(store.read(number), number)


def test_numbers_are_ordered_as_numbers(url: str) -> None:
    store = CheckpointStore(url)
    for number in (9, 10, 100):
        save(store, number)
    assert store.numbers() == [9, 10, 100] and store.read().number == 100


def test_unfinished_ones_go_when_enough_newer_are_complete(url: str) -> None:
    store = CheckpointStore(url, keep=2)
    store.write_part(5, "a", {"x": np.ones(3)})
    save(store, 10)
    assert kept(url) == [5, 10], "it may still be committed"
    save(store, 20)
    assert kept(url) == [10, 20]
    store.write_part(25, "a", {})
    save(store, 24)
    assert kept(url) == [20, 24, 25], "a newer one that is being written stays"


def test_a_damaged_one_does_not_count_as_complete(url: str) -> None:
    store = CheckpointStore(url, keep=2)
    for number in (10, 20):
        save(store, number)
    write_file(url, "checkpoint-20.manifest", b"torn")
    save(store, 30)
    assert kept(url) == [10, 20, 30]
    save(store, 40)
    assert kept(url) == [30, 40]


def test_the_one_just_committed_stays_even_if_it_is_old(url: str) -> None:
    """A run that went on from an older checkpoint, in the folder of the newer ones."""
    store = CheckpointStore(url, keep=2)
    for number in (30, 40):
        save(store, number)
    save(store, 10)
    assert store.numbers() == [10, 30, 40]
    assert_whole(store.read(10), 10)
    save(store, 20)
    assert kept(url) == [20, 30, 40]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    others = [
        "notes.txt",
        "checkpoint-1",
        "checkpoint-1.backup",
        "checkpoint-x.manifest",
        "checkpoint-01.manifest",
    ]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "checkpoint-2.old").mkdir()
    store = CheckpointStore(tmp_path, keep=1)
    for number in (10, 20):
        save(store, number)
    assert store.numbers() == [20]
    assert {*others, "checkpoint-2.old"} <= set(files(str(tmp_path)))


def test_two_writers_of_different_numbers(url: str) -> None:
    first, second = CheckpointStore(url), CheckpointStore(url)
    early = first.write_part(10, "a", {"w": np.zeros(2)}, {"part": "a"})
    save(second, 20)
    first.commit(10, [early])
    assert first.numbers() == second.numbers() == [10, 20]
    assert_whole(first.read(), 20)


def test_a_writer_that_was_overtaken_is_told(url: str) -> None:
    first, second = CheckpointStore(url, keep=1), CheckpointStore(url, keep=1)
    early = first.write_part(10, "a", {})
    save(second, 20)
    with pytest.raises(CheckpointError, match=r"checkpoint-10\.a\..*is missing.*have retired this one"):
        first.commit(10, [early])
    assert first.numbers() == [20]


def test_two_writers_of_one_number_never_mix(url: str) -> None:
    first, second = CheckpointStore(url), CheckpointStore(url)
    records = [
        [store.write_part(10, part, {"x": np.full(2, value)}) for part in ("a", "b")]
        for store, value in ((first, 1), (second, 2))
    ]
    for store, written, value in ((first, records[0], 1), (second, records[1], 2)):
        store.commit(10, written, {"value": value})
        checkpoint = store.read()
        assert checkpoint.meta == {"value": value}
        assert [checkpoint.part(part)[0]["x"].tolist() for part in ("a", "b")] == [[value, value]] * 2


def test_many_writers_at_once(tmp_path: Path) -> None:
    def writer(first: int) -> None:
        store = CheckpointStore(tmp_path, keep=100)
        for number in range(first, 40, 4):
            save(store, number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(writer, range(4)))
    store = CheckpointStore(tmp_path)
    assert store.numbers() == list(range(40))
    for number in store.numbers():
        assert_whole(store.read(number), number)


def test_many_writers_at_once_retire_one_anothers(tmp_path: Path) -> None:
    """Who is slow may be overtaken, and is told; the newest is there and whole at the end."""

    def writer(first: int) -> int:
        store = CheckpointStore(tmp_path, keep=2)
        committed = 0
        for number in range(first, 60, 3):
            try:
                save(store, number)
                committed += 1
            except CheckpointError as error:
                if "retired" not in str(error) and ".partial" not in str(
                    error
                ):  # retired while it was written
                    raise
        return committed

    with ThreadPoolExecutor(3) as pool:
        committed = sum(pool.map(writer, range(3)))
    assert committed > 20
    store = CheckpointStore(tmp_path)
    assert_whole(store.read(), 59)


@pytest.mark.parametrize("keep", [0, -1, 2.0, True, None, "3"])
def test_keep_is_a_whole_number_of_at_least_one(memory: str, keep: Any) -> None:
    with pytest.raises(InvalidJob, match=r"keep=.*; required: a whole number >= 1"):
        CheckpointStore(memory, keep)


@pytest.mark.parametrize("number", [-1, 2.5, True, "7"])
def test_numbers_are_clocks(memory: str, number: Any) -> None:
    store = CheckpointStore(memory, np.int64(2))
    for use in (lambda: store.write_part(number, "a", {}), lambda: store.commit(number, []),
                lambda: store.read(number)):  # fmt: skip
        with pytest.raises(InvalidJob, match=r"number=.*; required: a whole number >= 0"):
            use()
    save(store, 3)
    assert_whole(store.read(np.int64(3)), 3)


@pytest.mark.parametrize("name", ["with spaces", "trailing/", "deep/er/", "#1?x=50%20[a-c]*", "ünïcödé"])
def test_paths_of_any_kind(tmp_path: Path, name: str) -> None:
    save(CheckpointStore(f"{tmp_path}/{name}"), 1)
    assert_whole(CheckpointStore(tmp_path / name).read(), 1)
    assert (tmp_path / name / "checkpoint-1.manifest").is_file()


def test_a_relative_path_is_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = CheckpointStore("saved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    save(store, 1)
    assert_whole(CheckpointStore(f"file://{tmp_path}/saved").read(), 1)


def test_a_folder_seen_through_another_filesystem(tmp_path: Path) -> None:
    save(CheckpointStore(f"simplecache::file://{tmp_path}/saved"), 1)
    assert_whole(CheckpointStore(f"{tmp_path}/saved").read(), 1)


def test_places_that_cannot_hold_checkpoints_are_named_at_once(tmp_path: Path, objects: str) -> None:
    (tmp_path / "file").write_text("")
    refused = {
        f"{tmp_path}/file": "FileExistsError",
        f"{tmp_path}/file/below": "NotADirectoryError",
        "nosuch://bucket/run": "Protocol not known: nosuch",
        "readonly://bucket/run": "PermissionError: no write access",
    }
    for url, why in refused.items():
        with pytest.raises(CheckpointError, match=f"'{url}' cannot hold checkpoints; required: .*{why}"):
            CheckpointStore(url)
    for nothing in ("", None, 3):
        with pytest.raises(CheckpointError, match=r"url=.*; required: a path or a URL"):
            CheckpointStore(nothing)  # type: ignore[arg-type]


def test_nothing_is_left_by_opening(url: str) -> None:
    CheckpointStore(url)
    assert files(url) == {}


def test_where_nothing_can_be_removed_the_checkpoint_is_complete_all_the_same(objects: str) -> None:
    store = CheckpointStore("writeonly://bucket/run", keep=1)
    save(store, 10)
    with pytest.raises(CheckpointError, match=r"20 is complete, but not all older .*no access to remove"):
        save(store, 20)
    assert_whole(store.read(), 20)


def test_a_place_that_is_lost_later_is_named(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "saved")
    (tmp_path / "saved").rmdir()
    with pytest.raises(CheckpointError, match=r"saved/checkpoint-1\.a\..* cannot be written"):
        store.write_part(1, "a", {})
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*saved"):
        store.read()

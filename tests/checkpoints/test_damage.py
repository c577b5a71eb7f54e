"""Whatever happened to the files, nothing but what was written is ever handed out."""

import dataclasses
import hashlib
import io

import numpy as np
import pytest

from psbook.checkpoints import CheckpointStore, PartRecord
from psbook.checkpoints.manifest import Manifest, manifest_file
from psbook.errors import CheckpointError
from psbook.versions import versions
from tests.checkpoints.saving import assert_whole, files, read_file, remove_file, save, write_file


@pytest.fixture
def store(memory: str) -> CheckpointStore:
    """Return a store whose newest checkpoint, 20, will be damaged; 10 is good."""
    store = CheckpointStore(memory)
    save(store, 10)
    save(store, 20, ("a",))
    return store


def newest_files(url: str) -> list[str]:
    names = sorted(name for name in files(url) if name.startswith("checkpoint-20."))
    assert len(names) == 2, "a manifest and one part"
    return names


def assert_refused(store: CheckpointStore, file: str) -> str:
    """Reading the newest raises, names the file and the other checkpoint, and what is required."""
    with pytest.raises(CheckpointError) as caught:
        store.read().verify()
    message = str(caught.value)
    assert file in message and message.endswith("read(10).")
    assert "required" in message or "missing" in message
    return message


def test_every_flipped_bit_is_refused(store: CheckpointStore) -> None:
    count = 0
    for file in newest_files(store.url):
        good = read_file(store.url, file)
        for place in range(len(good)):
            for flip in (1 << place % 8, 0x20, 0xFF):  # 0x20: the case of a letter
                bad = bytearray(good)
                bad[place] ^= flip
                write_file(store.url, file, bytes(bad))
                assert_refused(store, file)
                count += 1
        write_file(store.url, file, good)
        assert_whole(store.read(), 20)
    assert count > 3000


def test_every_truncation_and_an_extra_byte_are_refused(store: CheckpointStore) -> None:
    for file in newest_files(store.url):
        good = read_file(store.url, file)
        for bad in [*(good[:length] for length in range(len(good))), good + b"\n", good + good]:
            write_file(store.url, file, bad)
            assert_refused(store, file)
        write_file(store.url, file, good)
        assert_whole(store.read(), 20)


def test_a_missing_part_is_named(store: CheckpointStore) -> None:
    part = next(file for file in newest_files(store.url) if file.endswith(".npz"))
    remove_file(store.url, part)
    assert "is missing" in assert_refused(store, part)


def test_parts_that_changed_places_are_refused(memory: str) -> None:
    store = CheckpointStore(memory)
    save(store, 10)
    save(store, 20, ("a", "b"))
    one, other = (
        file for file in sorted(files(memory)) if file.startswith("checkpoint-20.") and "npz" in file
    )
    first, second = read_file(memory, one), read_file(memory, other)
    assert len(first) == len(second), "so that size does not tell"
    write_file(memory, one, second)
    write_file(memory, other, first)
    assert "altered" in assert_refused(store, one)


def test_a_manifest_of_another_checkpoint_is_refused(store: CheckpointStore) -> None:
    write_file(store.url, "checkpoint-20.manifest", read_file(store.url, "checkpoint-10.manifest"))
    assert "is that of checkpoint 10; required: of 20" in assert_refused(store, "checkpoint-20.manifest")


def test_a_foreign_file_is_refused(store: CheckpointStore) -> None:
    write_file(store.url, "checkpoint-20.manifest", b'{"model": "another program\'s"}')
    assert "psbook checkpoint, format" in assert_refused(store, "checkpoint-20.manifest")


def test_a_newer_format_is_refused_with_its_number(store: CheckpointStore) -> None:
    body = b'{"layout": "nobody knows"}'
    header = f"psbook checkpoint, format 2, sha256 {hashlib.sha256(body).hexdigest()}\n"
    write_file(store.url, "checkpoint-20.manifest", header.encode() + body)
    message = assert_refused(store, "checkpoint-20.manifest")
    assert "has format 2; required: 1" in message and "install" in message


def test_pickled_objects_are_never_loaded(memory: str) -> None:
    """Also not where size and checksum are right, so that they are all that an intruder could want."""
    buffer = io.BytesIO()
    np.savez(buffer, np.array([{"any": "thing"}], object))
    data = buffer.getvalue()
    file = f"checkpoint-20.p.{'0' * 32}.npz"
    store = CheckpointStore(memory)
    write_file(memory, file, data)
    record = PartRecord("p", file, len(data), hashlib.sha256(data).hexdigest())
    store.commit(20, [record])
    with pytest.raises(CheckpointError, match=r"no part of a checkpoint.*pickle"):
        store.read().part("p")


def test_the_one_to_read_instead_is_the_newest_that_is_wholly_good(memory: str) -> None:
    store = CheckpointStore(memory, keep=5)
    for number in (10, 20, 30, 40):
        save(store, number)
    write_file(memory, "checkpoint-40.manifest", b"")
    part = next(file for file in files(memory) if file.startswith("checkpoint-30.a"))
    write_file(memory, part, b"torn")
    with pytest.raises(CheckpointError, match=r"checkpoint-40\.manifest.*good is 20: read\(20\)"):
        store.read()
    with pytest.raises(CheckpointError, match=r"checkpoint-30\.a.* has 4 bytes; .*good is 20: read\(20\)"):
        store.read(30).part("a")
    assert store.numbers() == [10, 20, 30, 40] and store.latest() == 40, "nothing is hidden"
    assert_whole(store.read(20), 20)


def test_when_nothing_is_good_that_is_said(memory: str) -> None:
    store = CheckpointStore(memory)
    save(store, 10)
    write_file(memory, "checkpoint-10.manifest", b"")
    with pytest.raises(CheckpointError, match=r"No other checkpoint in memory://saved is good"):
        store.read()


def test_an_empty_or_unfinished_store_says_which(url: str) -> None:
    store = CheckpointStore(url)
    assert store.numbers() == [] and store.latest() is None
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*no file of one"):
        store.read()
    store.write_part(5, "a", {})
    with pytest.raises(CheckpointError, match="only files of 5, never committed"):
        store.read()
    save(store, 6)
    with pytest.raises(CheckpointError, match=r"checkpoint-7\.manifest is missing.*read\(6\)"):
        store.read(7)
    with pytest.raises(CheckpointError, match="no part 'c'; it has 'a', 'bb'"):
        store.read(6).part("c")


def test_a_commit_of_what_is_not_there_makes_no_checkpoint(url: str) -> None:
    store = CheckpointStore(url)
    record = store.write_part(5, "a", {"x": np.ones(3)})
    with pytest.raises(CheckpointError, match="several parts named"):
        store.commit(5, [record, record])
    with pytest.raises(CheckpointError, match="written for checkpoint 5; required: 6"):
        store.commit(6, [record])
    with pytest.raises(CheckpointError, match=f"has {record.bytes} bytes; required: 1 bytes"):
        store.commit(5, [dataclasses.replace(record, bytes=1)])
    remove_file(url, record.file)
    with pytest.raises(CheckpointError, match="is missing"):
        store.commit(5, [record])
    assert store.numbers() == []


def test_a_manifest_reads_back_as_itself() -> None:
    record = PartRecord("name", "file", 3, "0" * 64)
    manifest = Manifest(3, {"deep": {"er": [1, 2.5, None]}}, (record,), versions())
    assert Manifest.decode(manifest.encode("manifest"), 3, manifest_file(3)) == manifest

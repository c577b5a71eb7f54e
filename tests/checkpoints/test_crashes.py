"""The machine dies at every single operation; the last complete checkpoint is there afterwards."""

from collections import Counter
from pathlib import Path

import pytest

from psbook.checkpoints import CheckpointStore
from psbook.errors import CheckpointError
from tests.checkpoints.filesystems import Machine, ObjectStore
from tests.checkpoints.saving import assert_whole, files, save


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("kind", ["disk", "objects"])
def test_a_crash_at_every_operation(
    machine: type[Machine], tmp_path: Path, objects: str, kind: str, keep: int
) -> None:
    outcomes: Counter[str] = Counter()
    for steps in range(1000):
        url = f"mortal://{tmp_path}/{steps}" if kind == "disk" else f"{objects}/{steps}"
        store = CheckpointStore(url, keep)
        for number in (10, 20):
            save(store, number)
        machine.left = steps
        try:
            save(store, 30)
            died = False
        except CheckpointError:
            died = True
        unused, machine.left = machine.left, None

        reopened = CheckpointStore(url, keep)
        newest = 30 if 30 in reopened.numbers() else 20
        assert_whole(reopened.read(), newest)
        for number in reopened.numbers():
            assert_whole(reopened.read(number), number)
        outcomes[f"{newest} after a crash" if died else "no crash"] += 1

        for number in (30, 40, 50):
            save(reopened, number)
        assert reopened.numbers() == [30, 40, 50][-keep:]
        old = [name for name in files(url) if name.startswith(("checkpoint-10.", "checkpoint-20."))]
        assert old == []
        if keep == 1:  # otherwise what the crash left of 30 lies beside the second 30, which is kept
            assert sorted(name.split(".")[1] for name in files(url)) == ["a", "bb", "manifest"]
        if unused:
            break
    assert outcomes["no crash"] >= 1
    assert outcomes["20 after a crash"] > 10 and outcomes["30 after a crash"] > 3, "both sides of the commit"


def test_a_crash_while_a_file_is_written_leaves_nothing_torn_under_its_name(
    machine: type[Machine], tmp_path: Path
) -> None:
    url = f"mortal://{tmp_path}"
    store = CheckpointStore(url)
    save(store, 10)
    before = set(files(url))
    for steps in (1, 2, 3):
        machine.left = steps
        with pytest.raises(CheckpointError, match=r"checkpoint-20\.a\..* cannot be written \(PowerCut"):
            store.write_part(20, "a", {})
        machine.left = None
        left = set(files(url)) - before
        assert len(left) == steps and all(name.endswith(".partial") for name in left)


def test_objects_are_written_once_under_their_own_names(objects: str) -> None:
    save(CheckpointStore(objects), 10)
    names = [name.rpartition("/")[2].split(".") for name in ObjectStore.objects]
    assert [name[1] for name in names] == ["a", "bb", "manifest"], "and the manifest is the last"
    assert [name[-1] for name in names] == ["npz", "npz", "manifest"]

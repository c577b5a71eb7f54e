"""How often, where, how many: said once, checked at once."""

from pathlib import Path
from typing import Any

import pytest

from psbook.checkpoints import Checkpoints
from psbook.errors import InvalidJob


def test_label_says_all_of_it() -> None:
    assert (
        Checkpoints("s3://b/run", 50).label == "a checkpoint every 50 clocks in s3://b/run, the newest 3 kept"
    )
    assert Checkpoints("runs", 1, keep=1).label == "a checkpoint every clock in runs, the newest kept"


def test_the_store_is_opened_as_described(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "saved", every=5, keep=7).store()
    assert (store.url, store.keep) == (str(tmp_path / "saved"), 7)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("runs", 0), "every=0"),
        (("runs", 1.5), "every=1.5"),
        (("runs", True), "every=True"),
        (("runs", 1, 0), "keep=0"),
        (("", 1), "url=''"),
        ((None, 1), "url=None"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[Any, ...], named: str) -> None:
    with pytest.raises(InvalidJob, match=f"{named}.*required"):
        Checkpoints(*arguments)

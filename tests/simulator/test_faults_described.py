"""Faults as values: what may be said, how it is written and read, and what is refused."""

import json
import pickle
import re
from dataclasses import FrozenInstanceError
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given

import psbook.laws
import psbook.simulator.faults
from psbook.errors import InvalidJob
from psbook.laws import Exponential, Measured
from psbook.simulator.faults import (
    BurstyLoss,
    Crash,
    Delay,
    Duplicate,
    Fault,
    Faults,
    Join,
    Leave,
    Loss,
    Partition,
    Pause,
    Rack,
    Reorder,
    SlowLink,
    SlowNode,
)
from tests.simulator.fault_strategies import NAMES, faults


@given(faults)
def test_a_fault_is_a_value(fault):
    assert eval(repr(fault), dict(NAMES)) == fault
    assert hash(fault) == hash(pickle.loads(pickle.dumps(fault)))
    assert fault.end > fault.at or isinstance(fault, Crash | Rack)
    with pytest.raises(FrozenInstanceError):
        fault.at = 0.0


@given(faults)
def test_every_fault_says_itself_in_a_sentence(fault):
    assert re.fullmatch(r"\S.*\S\.", fault.sentence) and "\n" not in fault.sentence
    assert "nan" not in fault.sentence and "None" not in fault.sentence and " inf" not in fault.sentence
    assert all(name in fault.sentence for name in fault.names())


MAKE = {
    "Crash": (Crash, {"node": "server-0", "at": 1.0, "restart": 2.0}),
    "Rack": (Rack, {"nodes": ["server-0"], "at": 1.0, "restart": 2.0}),
    "Pause": (Pause, {"node": "server-0", "at": 1.0, "seconds": 2.0}),
    "SlowNode": (SlowNode, {"node": "server-0", "factor": 2.0, "at": 1.0, "seconds": 2.0}),
    "SlowLink": (SlowLink, {"source": "a", "destination": "b", "delay": 1.0, "at": 1.0, "seconds": 2.0}),
    "Delay": (Delay, {"delay": 1.0, "at": 1.0, "seconds": 2.0, "links": [("a", "b")]}),
    "Loss": (Loss, {"probability": 0.1, "at": 1.0, "seconds": 2.0, "links": [("a", "b")]}),
    "BurstyLoss": (BurstyLoss, {"probability": 0.1, "length": 3.0, "at": 1.0, "seconds": 2.0, "links": None}),
    "Duplicate": (Duplicate, {"probability": 0.1, "delay": 3.0, "at": 1.0, "seconds": 2.0, "links": None}),
    "Reorder": (Reorder, {"probability": 0.1, "delay": 3.0, "at": 1.0, "seconds": 2.0, "links": None}),
    "Join": (Join, {"node": "server-3", "at": 1.0}),
    "Leave": (Leave, {"node": "server-0", "at": 1.0}),
    "Partition": (Partition, {"a_nodes": ["a"], "b_nodes": ["b"], "at": 1.0, "seconds": 2.0}),
}
NO_NUMBER = [nan, -1, "3", True, 1j, None, 10**400, [1]]
NO_NODES = ["", 3, None, [], [""], ["a", "a"], [None], b"a"]
RUBBISH = {
    "at": [*NO_NUMBER, inf, -inf],
    "seconds": [*NO_NUMBER, 0, -inf],
    "restart": [value for value in NO_NUMBER if value is not None] + [0, inf],
    "probability": [*NO_NUMBER, 1.01, inf],
    "length": [*NO_NUMBER, 0.5, inf],
    "factor": [*NO_NUMBER, 0, 0.5, inf],
    "delay": [*NO_NUMBER, inf, Exponential],
    "node": ["", 3, None, ["server-0"]],
    "source": ["", 3, None],
    "destination": ["", 3, None],
    "nodes": NO_NODES,
    "a_nodes": [*NO_NODES, ["b"], ["a", "b"]],
    "b_nodes": [*NO_NODES, "a"],
    "links": ["ab", ("a", "b"), [], [("a",)], [("a", "b", "c")], [("a", 1)], [("a", "")], 7],
}
WRONG = [(kind, name, value) for kind, (_, made) in MAKE.items() for name in made for value in RUBBISH[name]]


def test_the_rubbish_reaches_every_kind_of_fault():
    assert {type(make(**good)) for make, good in MAKE.values()} == {
        kind
        for kind in vars(psbook.simulator.faults).values()
        if isinstance(kind, type)
        and issubclass(kind, Fault)
        and "sentence" in vars(kind)
        and kind is not Fault
    }


@pytest.mark.parametrize(("kind", "name", "value"), WRONG, ids=repr)
def test_rubbish_is_refused_by_name(kind, name, value):
    make, good = MAKE[kind]
    with pytest.raises(InvalidJob, match=rf"(?s)^{kind}: \w+ is .*; required: .*; .*"):
        make(**good | {name: value})


def test_rubbish_of_particular_faults():
    with pytest.raises(InvalidJob, match="Rack"):
        Crash("server-*", at=1)
    with pytest.raises(InvalidJob, match="finite"):
        Pause("server-0", at=1, seconds=inf)
    with pytest.raises(InvalidJob, match="measures"):
        Delay(Measured())
    with pytest.raises(InvalidJob, match=r"at most length/\(length\+1\) = 0\.75"):
        BurstyLoss(0.8, 3)
    assert BurstyLoss(0.75, 3).probability == 0.75
    with pytest.raises(InvalidJob, match="finite"):
        SlowLink("a", "b", inf)


def test_numbers_of_numpy_become_plain():
    fault = Loss(np.float32(0.5), at=np.int64(3), seconds=np.float64(2))
    assert repr(fault) == "Loss(0.5, at=3.0, seconds=2.0)"
    assert json.dumps(Faults(fault).to_dict())

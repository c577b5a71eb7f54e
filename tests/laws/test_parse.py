"""Laws as text."""

import pytest

from psbook.errors import DataError, InvalidJob
from psbook.laws import (
    Constant,
    Exponential,
    Gamma,
    LogNormal,
    Measured,
    Pareto,
    Recorded,
    ShiftedExponential,
    Uniform,
    parse,
)


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("0.1", Constant(0.1)),
        ("constant:2", Constant(2)),
        ("exponential:0.1", Exponential(0.1)),
        ("Exponential:mean=1e-3", Exponential(1e-3)),
        ("uniform:1:3", Uniform(1, 3)),
        ("shifted-exponential:1:0.5", ShiftedExponential(1, 0.5)),
        ("ShiftedExponential:1:0.5", ShiftedExponential(1, 0.5)),
        ("gamma:0.1:shape=4", Gamma(0.1, 4)),
        ("log_normal:0.1:0.3", LogNormal(0.1, 0.3)),
        ("pareto:1:3,with-mean:0.1", Pareto(1, 3).with_mean(0.1)),
        ("measured", Measured()),
        ("measured:2,slow:3=2.5:7=4", Measured(2).slow({3: 2.5, 7: 4})),
        ("exponential:0.1,spells:0.01:4:5", Exponential(0.1).spells(0.01, 4, 5)),
        ("1, rotating:5:10, delayed:2:3:1.5", Constant(1).rotating(5, 10).delayed(2, 3, 1.5)),
        ("1,rotating:5:10:workers=8", Constant(1).rotating(5, 10, 8)),
        ("exponential:1,common:gamma:1:4", Exponential(1).common(Gamma(1, 4))),
        ("exponential:1,plus:0.5,times:uniform:1:2", (Exponential(1) + 0.5) * Uniform(1, 2)),
    ],
)
def test_text_means_the_law(text, law):
    assert parse(text) == law


def test_recording(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("w,ms\n0,100\n1,200\n")
    law = parse(f"recorded:{path}:ms:worker=w:scale=0.001:replay=bootstrap")
    assert law == Recorded(str(path), "ms", worker="w", scale=0.001, replay="bootstrap")
    with pytest.raises(DataError, match="does not exist"):
        parse("recorded:nowhere.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no law is called ''"),
        ("exponentail:1", "did you mean exponential"),
        ("exponential", "missing a required argument: 'mean'; required: exponential:mean"),
        ("exponential:1:2", "too many positional arguments"),
        ("exponential:rate=2", "required: exponential:mean"),
        ("exponential:fast", "mean is 'fast'; required: a finite number > 0"),
        ("exponential:-1", "mean is -1"),
        ("exponential:nan", "mean is nan"),
        ("exponential:1,gamma:1:2", "no step is called 'gamma'"),
        ("exponential:1,spell:0.1:2", "did you mean spells"),
        ("exponential:1,spells:0.1", "factor"),
        ("exponential:1,slow", "required: worker=factor"),
        ("exponential:1,slow:3", "required: worker=factor"),
        ("exponential:1,slow:a=b", "required: worker=factor"),
        ("exponential:1,common:", "no law is called ''"),
        ("1,", "no step is called ''"),
    ],
)
def test_wrong_text_is_refused_with_a_remedy(text, message):
    with pytest.raises(InvalidJob, match=message) as refusal:
        parse(text)
    assert "required: " in str(refusal.value)

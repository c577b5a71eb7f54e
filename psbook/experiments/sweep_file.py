"""A sweep as a TOML file: what ``psbook sweep config.toml`` reads."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from psbook.algorithms import logistic_regression
from psbook.core.consistency import parse_model
from psbook.datasets import add_bias, hold_out, load_breast_cancer, read
from psbook.errors import DataError, InvalidJob
from psbook.job import Job
from psbook.laws import Law, parse
from psbook.simulator import Network, Simulator

EXAMPLE = """\
# A sweep for `psbook sweep`. Every key may be left out but [over]. Times are simulated seconds.

seeds = 10                # runs of each combination; or a list of seeds
target = 0.12             # a loss: the time to it becomes a column
engine = "auto"           # or "compiled", "messages"
out = "psbook-sweep"      # folder; run the same file again and only what is missing runs

[job]                     # logistic regression
# data = "rows.svm"       # svmlight, CSV or Parquet, labels 0/1 or -1/1; without it the breast-cancer set
# label = "diagnosis"     # label column of a CSV or Parquet file, a name or a number; the last by default
rate = 0.5
batch_size = 16
epochs = 2
l1 = 0.0
l2 = 0.0

[cluster]
workers = 8
servers = 2
compute = "exponential:0.1"   # a law as in `psbook compare --straggler`, or seconds
# service = 0.001             # seconds of a request at a server, or a law
# network = "1.25e9:1e-4"     # bandwidth in bytes/s : latency in s of each NIC
seed = 0

[over]                    # every combination runs; also batch_size, epochs and the keys of [cluster] but seed
model = ["bsp", "ssp:3", "asp"]
rate = [0.5, 2.0, 8.0]

[over.compute]            # a list, or a table of labels as here
"no stragglers" = 0.1
"one slow worker" = "constant:0.1,slow:0=4"
"""
"""A commented file that runs."""


@dataclass(frozen=True)
class SweepFile:
    """What a file says: the arguments of `psbook.sweep`, and where the results go.

    Attributes
    ----------
    job, cluster, over, seeds, target, engine
        As for `psbook.sweep`.
    out : Path
        Folder of the results.
    """

    job: Any
    cluster: Simulator
    over: dict[str, Any]
    seeds: Any
    target: float | None
    engine: Any
    out: Path


def read_sweep(path: str | Path) -> SweepFile:
    """Read a sweep from a TOML file.

    Raises
    ------
    DataError
        If the file is missing or is not TOML.
    InvalidJob
        A key that is unknown or has a wrong value; the message begins with the path of the key.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return sweep_of(tomllib.load(file))
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}; required: a file as psbook sweep --example prints."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not TOML: {error}; see psbook sweep --example.") from None


def sweep_of(given: Mapping[str, Any]) -> SweepFile:
    """Return the sweep that a parsed file describes.

    Raises
    ------
    InvalidJob
        A key that is unknown or has a wrong value; the message begins with the path of the key.

    Examples
    --------
    >>> sweep_of({"over": {"model": ["bsp", "ssp:2"]}, "seeds": 3}).over["model"][1].label
    'SSP(2)'
    >>> sweep_of({"over": {"modle": ["bsp"]}})
    Traceback (most recent call last):
    psbook.errors.InvalidJob: over.modle: unknown key; required: one of model, ...; did you mean over.model?
    """
    top = _section(given, "", {**TOP, **dict.fromkeys(("job", "cluster", "over"), _table)})
    settings = _section(top.get("job", {}), "job", JOB)
    cluster = _section(top.get("cluster", {}), "cluster", CLUSTER)
    over = {name: _values(name, values) for name, values in top.get("over", {}).items()}
    if not over:
        raise InvalidJob('over: missing; required: a table such as [over] with model = ["bsp", "asp"].')
    return SweepFile(
        _job(settings, over), Simulator(**cluster), over, top.get("seeds", 20), top.get("target"),
        top.get("engine", "auto"), Path(top.get("out", "psbook-sweep")),
    )  # fmt: skip


def _section(given: Mapping[str, Any], path: str, keys: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    return {key: _read(given[key], f"{path}.{key}" if path else key, key, keys) for key in given}


def _read(value: Any, path: str, key: str, keys: Mapping[str, Callable[[Any], Any]]) -> Any:
    if key not in keys:
        near = get_close_matches(key, keys, n=1)
        remedy = f"; did you mean {path.removesuffix(key)}{near[0]}?" if near else ""
        raise InvalidJob(f"{path}: unknown key; required: one of {', '.join(keys)}{remedy}")
    try:
        return keys[key](value)
    except (InvalidJob, DataError) as error:
        raise InvalidJob(f"{path}: {error}") from None


def _values(name: str, values: Any) -> Any:
    path = f"over.{name}"
    if name not in OVER:
        return _read(values, path, name, OVER)
    if isinstance(values, Mapping) and values:
        return {label: _read(value, f"{path}.{label}", name, OVER) for label, value in values.items()}
    if isinstance(values, list) and values:
        return [_read(value, f"{path}[{place}]", name, OVER) for place, value in enumerate(values)]
    raise InvalidJob(f"{path}: {values!r}; required: a list of values, or a table of labels with values.")


def _job(settings: dict[str, Any], over: Mapping[str, Any]) -> Any:
    """Return the job, or where batches vary a function of them: some programs are made for their size."""
    rows, name = load_rows(settings.pop("data", None), settings.pop("label", None))

    size, passes = settings.pop("batch_size", 16), settings.pop("epochs", 10)

    def job(batch_size: int = size, epochs: int = passes) -> Job:
        return logistic_regression(*rows, name=name, batch_size=batch_size, epochs=epochs, **settings)

    return job if over.keys() & {"batch_size", "epochs"} else job()


def load_rows(data: str | Path | None, label: str | int | None) -> tuple[tuple[Any, ...], str]:
    """Return rows and labels of a file, every tenth held out, and a name; by default the breast-cancer set.

    Raises
    ------
    DataError
        If the file cannot be read, or has other labels than 0 and 1.
    """
    if data is None:
        bunch = load_breast_cancer()
        rows = bunch.X_train, bunch.y_train, bunch.X_test, bunch.y_test
        return rows, "logistic regression on breast cancer"
    X, y = read(Path(data), label=-1 if label is None else label)
    values = set(y.tolist())
    if not values <= {0, 1}:
        raise DataError(
            f"{data}: labels {sorted(values)[:6]}; required: two classes, 0 and 1 or -1 and 1. Choose the "
            "column by label."
        )
    return tuple(hold_out(add_bias(X), y)), f"logistic regression on {Path(data).name}"


# What values mean


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidJob(f"{value!r}; required: a table of keys.")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidJob(f"{value!r}; required: a text in quotes.")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidJob(f"{value!r}; required: a number.")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidJob(f"{value!r}; required: a whole number >= 1.")
    return value


def _seed(value: Any) -> int:
    return value if value == 0 and value is not False else _count(value)


def _seeds(value: Any) -> int | list[int]:
    return [_seed(seed) for seed in value] if isinstance(value, list) else _count(value)


def _column(value: Any) -> str | int:
    return value if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _law(value: Any) -> Law:
    return parse(str(_number(value)) if isinstance(value, int | float) else _text(value))


def _network(value: Any) -> Network | None:
    text = _text(value)
    if text == "none":
        return None
    bandwidth, _, latency = text.partition(":")
    try:
        return Network(float(bandwidth), float(latency or "0"))
    except ValueError as error:
        if isinstance(error, InvalidJob):
            raise
        raise InvalidJob(
            f'{text!r}; required: "none", or "BANDWIDTH:LATENCY" in bytes/s and seconds.'
        ) from None


def _engine(value: Any) -> str:
    if value not in ("auto", "compiled", "messages"):
        raise InvalidJob(f'{value!r}; required: "auto", "compiled" or "messages".')
    return str(value)


TOP: dict[str, Callable[[Any], Any]] = {"seeds": _seeds, "target": _number, "engine": _engine, "out": _text}
JOB: dict[str, Callable[[Any], Any]] = {
    "data": _text, "label": _column, "rate": _number, "l1": _number, "l2": _number, "batch_size": _count,
    "epochs": _count,
}  # fmt: skip
CLUSTER: dict[str, Callable[[Any], Any]] = {
    "workers": _count, "servers": _count, "compute": _law, "service": _law, "network": _network, "seed": _seed
}  # fmt: skip
OVER: dict[str, Callable[[Any], Any]] = {
    "model": lambda value: parse_model(_text(value)), "rate": _number, "batch_size": _count, "epochs": _count,
    "workers": _count, "servers": _count, "compute": _law, "service": _law, "network": _network,
}  # fmt: skip

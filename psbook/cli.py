"""The ``psbook`` command."""

from __future__ import annotations

import contextlib
import enum
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

import psbook
from psbook.core.consistency.parsing import forms
from psbook.errors import DataError, InvalidJob, PsbookError

app = typer.Typer(
    name="psbook",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help=(
        "**psbook**: parameter servers to learn from, to study and to run.\n\n"
        "Start with `psbook compare`: it trains logistic regression on real data under BSP, SSP and ASP on "
        "a simulated cluster with stragglers, and shows how they trade convergence against time."
    ),
)


class Backend(enum.StrEnum):
    """Where a comparison runs."""

    simulator = "simulator"
    dask = "dask"


DATA = "What to train on"
CLUSTER = "The cluster"
TRAINING = "The training"
OUTPUT = "The output"


@app.command()
def compare(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A svmlight, CSV or Parquet file (.gz too), labels 0/1 or ±1; without it, scikit-learn's "
            "breast-cancer set. Every tenth row is held out.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="Label column of a CSV or Parquet file: a name or a number; last by default.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        str,
        typer.Option(help=f"Consistency models: {forms()}.", rich_help_panel=CLUSTER),
    ] = "bsp,ssp:3,asp",
    workers: Annotated[int, typer.Option(help="Workers.", rich_help_panel=CLUSTER)] = 8,
    servers: Annotated[int, typer.Option(help="Shards of the parameters.", rich_help_panel=CLUSTER)] = 2,
    straggler: Annotated[
        str,
        typer.Option(
            help="Law of the compute times in seconds, such as constant:0.1, exponential:0.1, gamma:0.1:4, "
            "pareto:0.05:3, measured, recorded:FILE:COLUMN; then "
            ",spells:PROBABILITY:FACTOR:LENGTH or ,slow:WORKER=FACTOR.",
            rich_help_panel=CLUSTER,
        ),
    ] = "exponential:0.1",
    network: Annotated[
        str,
        typer.Option(
            help="none, or BANDWIDTH:LATENCY of each NIC in bytes/s and seconds, such as 1.25e9:1e-4.",
            rich_help_panel=CLUSTER,
        ),
    ] = "none",
    backend: Annotated[
        Backend,
        typer.Option(help="Simulated time, or real processes with the same delays.", rich_help_panel=CLUSTER),
    ] = Backend.simulator,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a running Dask scheduler; without it a local cluster is started.",
            rich_help_panel=CLUSTER,
            show_default=False,
        ),
    ] = None,
    rate: Annotated[float, typer.Option(help="Learning rate.", rich_help_panel=TRAINING)] = 0.5,
    tune: Annotated[
        str,
        typer.Option(
            help="Candidate rates, such as 0.1,0.3,1: each model gets its best.",
            rich_help_panel=TRAINING,
            show_default=False,
        ),
    ] = "",
    l1: Annotated[
        float,
        typer.Option(help="L1 penalty; above 0 the servers use FTRL-proximal.", rich_help_panel=TRAINING),
    ] = 0.0,
    l2: Annotated[float, typer.Option(help="L2 penalty.", rich_help_panel=TRAINING)] = 0.0,
    batch_size: Annotated[int, typer.Option(help="Rows of a mini-batch.", rich_help_panel=TRAINING)] = 16,
    epochs: Annotated[int, typer.Option(help="Passes over the data.", rich_help_panel=TRAINING)] = 10,
    seeds: Annotated[
        int, typer.Option(help="Runs of each model, with different luck.", rich_help_panel=TRAINING)
    ] = 3,
    seed: Annotated[int, typer.Option(help="The first seed.", rich_help_panel=TRAINING)] = 0,
    target: Annotated[
        float | None,
        typer.Option(
            help="Loss whose time is measured; by default nine tenths of the best model's way.",
            rich_help_panel=TRAINING,
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for picture, report, table and traces.", rich_help_panel=OUTPUT)
    ] = Path("psbook-compare"),
) -> None:
    """Train logistic regression under several consistency models and compare them."""
    from psbook.laws import parse

    job = _job(data, label, rate=rate, l1=l1, l2=l2, batch_size=batch_size, epochs=epochs)
    chosen = [psbook.parse_model(model) for model in models.split(",")]
    law = parse(straggler)
    settings: dict[str, Any] = {"workers": workers, "servers": servers, "compute": law, "seed": seed}
    cluster: Any
    if backend is Backend.simulator:
        if address is not None:
            raise InvalidJob("--address is for --backend dask; required: one without the other, or both.")
        cluster = psbook.Simulator(**settings, network=_network(network))
    else:
        if network != "none":
            raise InvalidJob(
                "--network is for the simulator; a real cluster has the network it has. Leave it out."
            )
        cluster = psbook.Dask(address, **settings)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidJob(f"--out {out}: {error.strerror}; required: a folder that can be written.") from None
    rates = [_number("--tune", text) for text in tune.split(",")] if tune else None
    typer.echo(f"Training {job.name} on {workers} workers and {servers} servers ({backend.value}) …")
    result = psbook.compare(job, cluster, chosen, seeds=seeds, target=target, tune=rates)
    typer.echo()
    typer.echo(result.text())
    typer.echo()
    for what, path in result.save(out).items():
        typer.echo(f"{what:8} {path}")


@app.command()
def sweep(
    config: Annotated[
        Path | None, typer.Argument(help="A TOML file; see --example.", show_default=False)
    ] = None,
    example: Annotated[bool, typer.Option("--example", help="Print a commented file that runs.")] = False,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler to spread the runs over.", show_default=False),
    ] = None,
) -> None:
    """Run a job at every combination of parameters and seeds; go on where an earlier call was ended."""
    from psbook.experiments.sweep_file import EXAMPLE, read_sweep
    from psbook.experiments.sweep_report import save_pictures, tuned_text

    if example:
        typer.echo(EXAMPLE, nl=False)
        return
    if config is None:
        raise InvalidJob("no file; required: psbook sweep config.toml. psbook sweep --example prints one.")
    given = read_sweep(config)
    result = psbook.sweep(
        given.job, given.cluster, given.over, given.seeds, target=given.target, path=given.out,
        client=address, engine=given.engine,
    )  # fmt: skip
    typer.echo(result.text())
    typer.echo(tuned_text(result))
    for failed in result.errors.itertuples():
        typer.echo(f"run {failed.run} failed: {failed.error}", err=True)
    for name in ("table.parquet", "history.parquet", *save_pictures(result, given.out)):
        typer.echo(f"written {given.out / name}")


@app.command()
def trace(
    path: Annotated[Path, typer.Argument(help="A trace written by `psbook compare` or `Trace.save`.")],
    perfetto: Annotated[
        Path | None,
        typer.Option(
            help="Also write it as JSON for ui.perfetto.dev or chrome://tracing.", show_default=False
        ),
    ] = None,
    events: Annotated[int, typer.Option(help="Print so many events in words.")] = 0,
) -> None:
    """Say what a saved trace holds; convert it; walk through its first events."""
    from psbook.run import Run

    loaded = psbook.Trace.load(path)
    typer.echo(repr(loaded))
    typer.echo(Run({}, {}, loaded).summary.to_string())
    if events:
        stepper = Run({}, {}, loaded).step()
        for index in range(min(events, len(loaded))):
            stepper.goto(index)
            typer.echo(stepper.sentence)
    if perfetto is not None:
        loaded.to_perfetto(perfetto)
        typer.echo(f"written {perfetto}")


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A trace written by `psbook compare` or `Trace.save`.")],
) -> None:
    """Judge a saved trace: each property is true, unknown or false; exit with 1 if one is false."""
    from psbook.trace import check as judge

    verdicts = judge(psbook.Trace.load(path))
    typer.echo(repr(verdicts))
    if not verdicts.ok:
        raise typer.Exit(1)


@app.command()
def watch(
    address: Annotated[
        str, typer.Argument(help="Address of the Dask scheduler, such as tcp://10.0.0.1:8786.")
    ],
    name: Annotated[
        str | None,
        typer.Argument(help="The job's name, if several run: psbook.Dask(name=…).", show_default=False),
    ] = None,
    every: Annotated[float, typer.Option(help="Seconds between two looks.")] = 0.35,
) -> None:
    """Watch a job on a cluster until it ends. Ctrl-C ends the view, not the job.

    Exit status 1 if the job has failed.
    """
    from psbook.cluster import find_job, jobs
    from psbook.view.live_terminal import watch_in_terminal
    from psbook.view.live_watch import Watch

    if name is None:
        listed = jobs(address)
        running = sorted(listed.loc[listed["state"].isin(["starting", "running"]), "name"])
        if len(running) != 1:
            there = f"{len(running)} jobs run there: {', '.join(running)}" if running else "no job runs there"
            raise InvalidJob(f"{there}; required: psbook watch {address} NAME, the name of one.")
        name = running[0]
    with find_job(address, name) as job:
        shown = Watch(job, every)
        watch_in_terminal(shown)
    if shown.status is not None and shown.status.state == "failed":
        raise typer.Exit(1)


@app.command()
def jobs(
    address: Annotated[
        str, typer.Argument(help="Address of the Dask scheduler, such as tcp://10.0.0.1:8786.")
    ],
) -> None:
    """List the jobs of a cluster: those that run, and the last that have ended."""
    from psbook.cluster import jobs as listed

    found = listed(address)
    shown = [column for column in found.columns if column != "error" or found["error"].any()]
    typer.echo(found[shown].to_string(index=False) if len(found) else f"no jobs at {address}")


@app.command()
def stop(
    address: Annotated[
        str, typer.Argument(help="Address of the Dask scheduler, such as tcp://10.0.0.1:8786.")
    ],
    name: Annotated[str, typer.Argument(help="The job's name, or the id of its run; see psbook jobs.")],
    wait: Annotated[float, typer.Option(help="Seconds to wait for its end.")] = 30.0,
) -> None:
    """Stop a job on a cluster; whoever runs it gets what it has learned.

    Exit status 1 if it is over already.
    """
    from psbook.cluster import find_job

    with find_job(address, name) as job:
        over = job.done
        job.stop()
        typer.echo(f"{name}: {job.wait(wait)}{' before' if over else ''}")
    if over:
        raise typer.Exit(1)


@app.command()
def campaign(
    runs: Annotated[int, typer.Option(help="Random schedules.")] = 200,
    first_seed: Annotated[int, typer.Option(help="Seed of the first; the others follow.")] = 0,
    delivery: Annotated[
        str | None,
        typer.Option(
            help="exactly-once, at-least-once or at-most-once; by default drawn too.", show_default=False
        ),
    ] = None,
) -> None:
    """Look for faults of the protocol: count pushes while servers, workers and messages are lost at random.

    Exit status 1, and the smallest schedule that was found for each failure, if a count is wrong.
    """
    from psbook.experiments.campaign import campaign as run_campaign

    result = run_campaign(range(first_seed, first_seed + runs), delivery)
    typer.echo(result.text)
    if result.failures:
        raise typer.Exit(1)


@app.command()
def reproduce(
    name: Annotated[
        str, typer.Argument(help="li, chen, dutta, psp, momentum (or P1, P3, P5, P7, P9), or all.")
    ] = "all",
    out: Annotated[Path, typer.Option(help="Folder for tables (CSV) and pictures (PNG).")] = Path(
        "psbook-figures"
    ),
) -> None:
    """Reproduce published figures: published and simulated side by side, and whether they agree.

    Exit status 1 if a gate is missed.
    """
    from psbook.experiments.published import FIGURES
    from psbook.experiments.published import reproduce as run

    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)  # before figures that take minutes
    missed = []
    for each in FIGURES if name.lower() == "all" else [name]:
        result = run(each)
        typer.echo(result.text())
        with _writing(out):
            paths = result.save(out)
        typer.echo(f"picture and table: {paths['picture']}, {paths['table']}\n")
        if not result.met:
            missed.append(result.name)
    if missed:
        typer.echo(f"missed: {', '.join(missed)}")
        raise typer.Exit(1)


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidJob(f"--out {out}: {error}; required: a folder that can be written.") from error


@app.command()
def version() -> None:
    """Print the versions that results depend on."""
    from psbook.versions import versions

    typer.echo(json.dumps(versions(), indent=2))


def _job(data: Path | None, label: str | None, **settings: Any) -> psbook.Job:
    from psbook.algorithms import logistic_regression
    from psbook.datasets import add_bias, hold_out, load_breast_cancer, read

    if data is None:
        bunch = load_breast_cancer()
        rows = bunch.X_train, bunch.y_train, bunch.X_test, bunch.y_test
        name = "logistic regression on breast cancer"
    else:
        column: str | int = -1 if label is None else int(label) if label.lstrip("-").isdigit() else label
        X, y = read(data, label=column)
        values = set(y.tolist())
        if not values <= {0, 1}:
            raise DataError(
                f"{data}: labels {sorted(values)[:6]}; required: two classes, 0 and 1 or -1 and 1. Choose "
                "the column with --label."
            )
        rows = hold_out(add_bias(X), y)
        name = f"logistic regression on {data.name}"
    return logistic_regression(*rows, name=name, **settings)


def _network(text: str) -> psbook.Network | None:
    if text == "none":
        return None
    bandwidth, _, latency = text.partition(":")
    return psbook.Network(_number("--network", bandwidth), _number("--network", latency or "0"))


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidJob(f"{option}: {text!r} is no number; see psbook compare --help.") from None


def main() -> None:
    """Run the command; a mistake in its input is one line on stderr, not a traceback."""
    try:
        app()
    except PsbookError as error:
        typer.secho(f"psbook: {error}", fg="red", err=True)
        raise SystemExit(2) from error

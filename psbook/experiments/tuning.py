"""Tuned comparisons: each model at its own best learning rate, chosen on seeds that are not reported.

An untuned comparison favours the model whose best rate happens to be nearest to the common one. And the best
of several rates, measured on the runs that it was chosen by, looks better than it is: the choice picks luck,
too. Hence some seeds choose, and the others report.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from psbook.errors import InvalidJob
from psbook.experiments.intervals import Interval, bootstrap
from psbook.experiments.swept import Sweep
from psbook.experiments.tidy import estimated, frame_of, groups


@dataclass(frozen=True)
class Score:
    """What is compared, less is better: one number a run.

    Attributes
    ----------
    name, meaning : str
        Column of the results, and what it holds.
    values : Series
        By run; NaN for a run that failed.
    """

    name: str
    meaning: str
    values: pd.Series[Any]

    @classmethod
    def of(cls, sweep: Sweep, seconds: float | None, target: float | None) -> Score:
        """Return the time to a target, or the loss at a budget: by default at the shortest run's length."""
        if sweep.history.empty:
            raise InvalidJob("a sweep without losses; required: a job with an objective, Job(evaluate=…).")
        if seconds is not None and target is not None:
            raise InvalidJob("seconds= and target= are given; required: one of them, or none.")
        if target is not None:
            return cls("time_s", f"median time to a loss of at most {target:g} [s]", sweep.times_to(target))
        if seconds is None:
            lengths = sweep.good.loc[~sweep.good["diverged"], "seconds"]
            seconds = float(lengths.min()) if len(lengths) else 0.0
        return cls("loss", f"median of the last loss within {seconds:g} s", sweep.losses_at(seconds))


def best_rate(
    sweep: Sweep,
    by: str | Sequence[str] = "model",
    *,
    rate: str = "rate",
    seconds: float | None = None,
    target: float | None = None,
    tuning: int | Iterable[int] | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Best learning rate of each model, chosen on some seeds and measured on the others.

    Parameters
    ----------
    sweep
        Runs at several rates and seeds.
    by
        Parameters that each have a rate of their own; over what else varies the runs are pooled.
    rate
        The parameter that is tuned.
    seconds, target : float, optional
        What is best: the lowest loss at a budget of time, or the shortest time to a target. By default the
        loss at the length of the shortest run, the same for all.
    tuning : int or iterable of int, optional
        How many of the seeds choose, or which; half of them by default.
    confidence
        Of the bootstrap intervals.

    Returns
    -------
    DataFrame
        For each combination the rate, ``loss`` or ``time_s`` with its interval on the reporting seeds,
        ``chosen_by``, the same number on the seeds that chose, which is too good on average; and ``at_edge``:
        the best rate is the smallest or largest candidate, so that a better one may lie outside.

    Raises
    ------
    InvalidJob
        If there are too few seeds, or a name is no parameter.

    Examples
    --------
    >>> from psbook.experiments.by_hand import by_hand
    >>> last = {
    ...     ("ASP", 0.1): 0.5,
    ...     ("ASP", 1.0): 0.75,
    ...     ("ASP", 10.0): 9.0,
    ...     ("BSP", 0.1): 0.9,
    ...     ("BSP", 1.0): 0.25,
    ...     ("BSP", 10.0): 9.0,
    ... }
    >>> sweep = by_hand(["model", "rate"], {labels: [[1.0, loss]] * 4 for labels, loss in last.items()})
    >>> best_rate(sweep)[["model", "rate", "loss", "at_edge"]].values.tolist()
    [['ASP', 0.1, 0.5, True], ['BSP', 1.0, 0.25, False]]
    """
    names, score, choosing, reporting = _prepared(sweep, by, rate, seconds, target, tuning)
    rows = []
    candidates = sorted(sweep.table[rate].unique())
    for labels, part in groups(sweep.table, names):
        best, chosen_by = _best(part[part["seed"].isin(choosing)], rate, score)
        told = part[part["seed"].isin(reporting) & (part[rate] == best)]
        found = score.values[told["run"]].dropna()
        rows.append({
            **labels, rate: best, "runs": len(found), "failed": len(told) - len(found),
            **estimated(score.name, found.to_numpy(), confidence),
            "chosen_by": chosen_by, "at_edge": best in (candidates[0], candidates[-1]),
        })  # fmt: skip
    meanings = {
        rate: f"the candidate with the lowest {score.name} on {len(choosing)} seeds that are not reported",
        score.name: f"{score.meaning}, on {len(reporting)} other seeds",
        "chosen_by": "the same on the seeds that chose; too good on average",
        "at_edge": "whether it is the smallest or largest candidate: a better one may lie outside",
    }
    return frame_of(rows, names, meanings, confidence)


def at_best_rate(
    sweep: Sweep,
    by: str | Sequence[str] = "model",
    *,
    rate: str = "rate",
    seconds: float | None = None,
    target: float | None = None,
    tuning: int | Iterable[int] | None = None,
) -> Sweep:
    """Return the runs of each model at its own best learning rate, on the seeds that did not choose it.

    Parameters
    ----------
    sweep, by, rate, seconds, target, tuning
        As for `best_rate`.

    Examples
    --------
    >>> from psbook.experiments.by_hand import by_hand
    >>> curves = {(model, rate): [[1.0, rate]] * 4 for model in ("BSP", "ASP") for rate in (0.1, 0.5)}
    >>> tuned = at_best_rate(by_hand(["model", "rate"], curves))
    >>> tuned.table[["model", "rate", "seed"]].values.tolist()
    [['BSP', 0.1, 2], ['BSP', 0.1, 3], ['ASP', 0.1, 2], ['ASP', 0.1, 3]]
    """
    names, _, _, reporting = _prepared(sweep, by, rate, seconds, target, tuning)
    best = best_rate(sweep, by, rate=rate, seconds=seconds, target=target, tuning=tuning)
    chosen = set(best[[*names, rate]].itertuples(index=False, name=None))
    runs = sweep.table[[*names, rate]].itertuples(index=False, name=None)
    kept = pd.Series([run in chosen for run in runs], index=sweep.table.index)
    return sweep.part(kept & sweep.table["seed"].isin(reporting))


def tuned_comparison(
    sweep: Sweep,
    compare: str = "model",
    by: str | Sequence[str] = (),
    *,
    rate: str = "rate",
    seconds: float | None = None,
    target: float | None = None,
    tuning: int | Iterable[int] | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Who wins where, each at its own best rate; differences are paired, seed by seed.

    Parameters
    ----------
    sweep
        Runs at several rates and seeds.
    compare
        The parameter whose values compete.
    by
        Parameters of the places where they do: one contest a combination.
    rate, seconds, target, tuning, confidence
        As for `best_rate`.

    Returns
    -------
    DataFrame
        The rows of `best_rate`, and: ``rank`` within the contest; ``behind``, the median over seeds of what
        it has more than the best, with its interval; ``clear``: the interval leaves zero out (the best one's
        lead over the second does); ``at_common_rate``, the same number with one rate for all, the one that is
        best on average, which an untuned comparison would show.

    Raises
    ------
    InvalidJob
        As for `best_rate`.

    Notes
    -----
    All competitors meet the same luck in a seed, so the difference within a seed says more than two separate
    intervals. The best one is found on the seeds that are reported; its lead is too large on average where
    several are about equally good.

    Examples
    --------
    >>> from psbook.experiments.by_hand import by_hand
    >>> last = {
    ...     ("ASP", 0.1): 0.5,
    ...     ("ASP", 1.0): 0.75,
    ...     ("ASP", 10.0): 9.0,
    ...     ("BSP", 0.1): 0.9,
    ...     ("BSP", 1.0): 0.25,
    ...     ("BSP", 10.0): 9.0,
    ... }
    >>> sweep = by_hand(["model", "rate"], {labels: [[1.0, loss]] * 4 for labels, loss in last.items()})
    >>> columns = ["model", "rate", "loss", "rank", "behind", "at_common_rate"]
    >>> tuned_comparison(sweep)[columns].values.tolist()
    [['ASP', 0.1, 0.5, 2, 0.25, 0.75], ['BSP', 1.0, 0.25, 1, 0.0, 0.25]]
    """
    places = [by] if isinstance(by, str) else list(by)
    names, score, choosing, reporting = _prepared(sweep, [*places, compare], rate, seconds, target, tuning)
    frame = best_rate(
        sweep, names, rate=rate, seconds=seconds, target=target, tuning=choosing, confidence=confidence
    )
    rows: list[dict[str, Any]] = []
    for labels, found in groups(frame, places):
        here = _rows_of(sweep.table, labels)
        common = _common(here[here["seed"].isin(choosing)], compare, rate, score)
        here = here[here["seed"].isin(reporting)]
        winners = {str(row[compare]): row[rate] for row in found.to_dict("records")}
        contest = {
            name: _by_seed(here[(here[compare].astype(str) == name) & (here[rate] == best)], score)
            for name, best in winners.items()
        }
        untuned = {
            name: _median(_by_seed(here[(here[compare].astype(str) == name) & (here[rate] == common)], score))
            for name in winners
        }
        standing = _standing(contest, confidence)
        rows += [
            {**{str(column): value for column, value in row.items()}, **standing[str(row[compare])],
             "common_rate": common, "at_common_rate": untuned[str(row[compare])]}
            for row in found.to_dict("records")
        ]  # fmt: skip
    meanings = {
        **{name: frame.attrs["columns"][name] for name in (rate, score.name, "chosen_by", "at_edge")},
        "rank": "1: the lowest; equal ones share a rank",
        "behind": f"median over seeds of its {score.name} less the best one's in the same seed",
        "clear": "whether zero is outside the interval of that; of the best: outside that of its lead",
        "common_rate": f"the {rate} with the lowest {score.name} on average over all",
        "at_common_rate": f"{score.meaning}, at the common {rate}: what an untuned comparison shows",
    }  # fmt: skip
    return frame_of(rows, names, meanings, confidence)


def _standing(contest: Mapping[str, pd.Series[Any]], confidence: float) -> dict[str, dict[str, Any]]:
    """Rank of each competitor, and how far it is behind the first, given its numbers by seed."""
    medians = {name: _median(values) for name, values in contest.items()}
    first, *others = sorted(contest, key=lambda name: medians[name])
    found: dict[str, dict[str, Any]] = {}
    for name, values in contest.items():
        rival = first if name != first else others[0] if others else name
        gap = _paired(values, contest[rival], confidence)
        behind = Interval(0.0, 0.0, 0.0) if name == first else gap
        found[name] = {
            "rank": 1 + sum(other < medians[name] for other in medians.values()),
            "behind": behind.value, "behind_low": behind.low, "behind_high": behind.high,
            "clear": gap.low > 0 or gap.high < 0,
        }  # fmt: skip
    return found


def _prepared(
    sweep: Sweep,
    by: str | Sequence[str],
    rate: str,
    seconds: float | None,
    target: float | None,
    tuning: int | Iterable[int] | None,
) -> tuple[list[str], Score, list[int], list[int]]:
    names = sweep.grouping(by)
    if rate not in sweep.parameters or rate in names:
        raise InvalidJob(
            f"rate={rate!r}; required: a parameter of the sweep that is not in by={names}. Give the sweep "
            "over={'rate': […]}."
        )
    seeds = sweep.seeds
    if tuning is None or isinstance(tuning, int):
        choosing = seeds[: len(seeds) // 2 if tuning is None else tuning]
    else:
        choosing = [seed for seed in seeds if seed in set(tuning)]
    reporting = [seed for seed in seeds if seed not in choosing]
    if not choosing or not reporting:
        raise InvalidJob(
            f"{len(choosing)} seeds choose and {len(reporting)} report; required: at least one of each. Give "
            "the sweep more seeds."
        )
    return names, Score.of(sweep, seconds, target), choosing, reporting


def _best(part: pd.DataFrame, rate: str, score: Score) -> tuple[Any, float]:
    """The rate with the lowest median, the smallest of equals; and that median."""
    medians = {value: _median(_by_seed(runs, score)) for (value,), runs in part.groupby([rate], sort=True)}
    best = min(medians, key=lambda value: medians[value])
    return best, medians[best]


def _common(part: pd.DataFrame, compare: str, rate: str, score: Score) -> Any:
    """The rate with the lowest median, on average over the competitors."""
    medians = part.assign(score=score.values[part["run"]].to_numpy()).pivot_table(
        index=rate, columns=compare, values="score", aggfunc=_median, dropna=False
    )
    return medians.mean(axis=1).idxmin()


def _by_seed(part: pd.DataFrame, score: Score) -> pd.Series[Any]:
    """A number a seed: the mean over what else varies; a failed run counts as infinite."""
    values = score.values[part["run"]].to_numpy()
    frame = pd.DataFrame(
        {"seed": part["seed"].to_numpy(), "score": np.where(np.isnan(values), np.inf, values)}
    )
    return frame.groupby("seed")["score"].mean()


def _median(values: pd.Series[Any]) -> float:
    numbers = np.asarray(values, np.float64)
    return float(np.median(numbers)) if len(numbers) else math.inf


def _paired(one: pd.Series[Any], other: pd.Series[Any], confidence: float) -> Interval:
    """Difference within seeds; where both are infinite there is none."""
    pairs = pd.concat([one, other], axis=1, join="inner").to_numpy(np.float64)
    with np.errstate(invalid="ignore"):
        differences = pairs[:, 0] - pairs[:, 1]
    return bootstrap(np.where(np.isnan(differences), 0.0, differences), "median", confidence)


def _rows_of(table: pd.DataFrame, labels: dict[str, Any]) -> pd.DataFrame:
    for name, label in labels.items():
        table = table[table[name] == label]
    return table

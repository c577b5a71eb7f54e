"""A comparison as one HTML file that opens without a server, and as a table in a notebook."""

from __future__ import annotations

import base64
import io
import math
from html import escape
from typing import TYPE_CHECKING, Any

from psbook.trace.processes import processes_text
from psbook.versions import versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from psbook.experiments.comparison import Comparison

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #ddd; }
td { white-space: nowrap; } caption { color: #555; margin-bottom: .3rem; }
th:first-child, td:first-child { text-align: left; font-weight: 600; }
td.best { background: #e8f3ea; }
img { max-width: 100%; } dt { font-weight: 600; } dd { margin: 0 0 .4rem 1.2rem; color: #444; }
.scroll { overflow-x: auto; }
"""

SHOWN = {
    "model": "model",
    "faults": "faults",
    "rate": "rate",
    "time_to_target_s": "time to target, {unit}",
    "reached": "reached",
    "loss_final": "final loss",
    "seconds": "run, {unit}",
    "updates": "updates",
    "iterations_per_s": "iterations/s",
    "staleness_mean": "mean staleness",
    "staleness_max": "max staleness",
    "idle_share": "idle share",
    "blocked_share": "blocked share",
    "bytes": "bytes",
}


def table_html(comparison: Comparison) -> str:
    """Return the comparison's table, the fastest time to target marked."""
    table = comparison.table
    best = table["time_to_target_s"].min()
    columns = [column for column in SHOWN if column in table]
    titles = [SHOWN[column].format(unit=comparison.time_unit) for column in columns]
    heads = "".join(f"<th>{escape(title)}</th>" for title in titles)
    rows = []
    for _, row in table.iterrows():
        cells = []
        for column in columns:
            marked = column == "time_to_target_s" and row[column] == best
            cells.append(f"<td{' class=best' if marked else ''}>{escape(shown(column, row[column]))}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    caption = f"{comparison.title}. Target loss {comparison.target:.4g}."
    return (
        f"<div class=scroll><table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def shown(column: str, value: Any) -> str:
    """Return a cell as text.

    >>> shown("idle_share", 0.256), shown("bytes", 2_500_000.0), shown("loss_final", float("nan"))
    ('25.6 %', '2.5 MB', '–')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if column.endswith("share"):
        return f"{100 * value:.1f} %"
    if column == "bytes":
        for unit in ("B", "kB", "MB", "GB"):
            if value < 1000 or unit == "GB":
                return f"{value:.3g} {unit}"
            value /= 1000
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def report(comparison: Comparison, figure: Figure) -> str:
    """Return the whole report: what was run, table, picture, what each column means."""
    meta = comparison.meta
    facts = {
        "job": meta["job"],
        "workers and servers": f"{len(meta['workers'])} and {len(meta['servers'])}",
        "placement": meta.get("placement", ""),
        "processes": processes_text(meta),
        "one iteration": meta["iteration_unit"],
        "compute times": meta.get("compute_label", ""),
        "network": meta.get("network_label", ""),
        "backend": meta["backend"],
        "gradients are combined by": meta["aggregate"],
        "tables": "; ".join(f"{name}: {table}" for name, table in meta["tables"].items()),
        "seeds": ", ".join(map(str, comparison.seeds)),
        "learning rate": "tuned for each model" if comparison.tuned else "untuned: the same for all models",
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    listed = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items() if v)
    columns = comparison.table.attrs["columns"]
    meanings = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in columns.items())
    sentence = getattr(figure, "psbook_sentence", comparison.title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(comparison.title)}</title>
<style>{STYLE}</style></head><body><h1>{escape(comparison.title)}</h1>
{table_html(comparison)}
<p>{escape(conclusion(comparison))}</p>
<img src="data:image/png;base64,{_png(figure)}" alt="{escape(sentence)}">
<h2>What was run</h2><dl>{listed}</dl>
<h2>Columns</h2><dl>{meanings}</dl>
</body></html>
"""


def conclusion(comparison: Comparison) -> str:
    """Return what the table says, in two sentences."""
    table = comparison.table
    reached = table.dropna(subset=["time_to_target_s"])
    unit = comparison.time_unit
    if reached.empty:
        first = f"No model reached the target loss {comparison.target:.4g}."
    else:
        best = reached.sort_values("time_to_target_s").iloc[0]
        first = f"{best['model']} reached the target first, after {best['time_to_target_s']:.4g} {unit}."
    most = table.sort_values("idle_share").iloc[-1]
    second = (
        f"{most['model']} kept its workers waiting longest: {100 * most['idle_share']:.0f} % of their time."
    )
    caveat = "" if comparison.tuned else " The learning rate is the same for all models and was not tuned."
    return f"{first} {second}{caveat}"


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()

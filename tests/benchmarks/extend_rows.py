"""The rows of table_extend.py: what one shows of a run, means over the seeds, and the table as markdown."""

from __future__ import annotations

import statistics
from typing import Any

from dreamdistill.distill.extend.report import ExtendReport

COLUMNS = {
    "joint": "all classes",
    "old": "old",
    "new": "new",
    "before": "old, before",
    "separation_before": "told apart before",
    "separation": "after",
}


def figures(report: ExtendReport) -> dict[str, float]:
    """What a row shows of a run, shares from 0 to 1 but for the seconds."""
    found = {
        "joint": report.top1_joint,
        "old": report.top1_old,
        "new": report.top1_new,
        "before": report.top1_old_before,
        "separation_before": report.separation_before,
        "separation": report.separation,
        "seconds": report.seconds,
    }
    return {name: value for name, value in found.items() if value is not None}


def summary(name: str, runs: list[dict[str, float]]) -> dict[str, Any]:
    """A row of the table from its seeds.

    Args:
        runs: shares from 0 to 1 by name, and ``seconds``, of each seed.

    Returns:
        Mean of each name; ``std``: of ``joint``; ``top1``: ``joint`` of each seed.
    """
    joint = [run["joint"] for run in runs if "joint" in run]
    names = dict.fromkeys(name for run in runs for name in run)
    return {
        "row": name,
        "seeds": len(runs),
        "std": statistics.stdev(joint) if len(joint) > 1 else 0.0,
        "top1": joint,
        **{each: statistics.mean(run[each] for run in runs if each in run) for each in names},
    }


def markdown(result: dict[str, Any]) -> str:
    """The table; accuracies in percent."""
    steps = sorted({name for row in result["rows"] for name in row if name.startswith("joint_")}, key=_number)
    columns = {**COLUMNS, **{name: f"{_number(name)} classes" for name in steps}}
    lines = [
        f"# New classes: {result['data']}, {result['task']}",
        "",
        f"`{result['command']}`  ",
        f"{result['hardware']}, {result['date']}. {result['images']:,} images of the old classes,"
        f" {result['steps']:,} steps.",
        "",
        f"| | {' | '.join(columns.values())} | seconds | seeds |",
        f"|---|{'---|' * (len(columns) + 2)}",
    ]
    for row in result["rows"]:
        cells = [f"{100 * row[name]:.1f}" if name in row else "" for name in columns]
        cells[0] += f" ± {100 * row['std']:.1f}" if row["seeds"] > 1 and "joint" in row else ""
        seconds = f"{row['seconds']:.0f}" if "seconds" in row else ""
        lines.append(f"| {row['row']} | {' | '.join(cells)} | {seconds} | {row['seeds']} |")
    return "\n".join(lines) + "\n"


def _number(name: str) -> int:
    return int(name.removeprefix("joint_"))

"""The budgets of table_cifar10.py, its rows with means over the seeds, and the table as markdown."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The size of a table.

    Attributes:
        images: of each method.
        steps: of the published recipes; None takes the published number.
        epochs: of a student.
        rounds: of images of the adaptive methods; all but the first compete with a student.
        round_epochs: of that student, before each round.
        seeds: how many.
    """

    images: int
    steps: int | None
    epochs: int
    rounds: int
    round_epochs: int
    seeds: int


BUDGETS = {
    "small": Budget(images=512, steps=200, epochs=125, rounds=2, round_epochs=125, seeds=3),
    "medium": Budget(images=5120, steps=1000, epochs=120, rounds=4, round_epochs=30, seeds=3),
    "paper": Budget(images=50176, steps=None, epochs=300, rounds=4, round_epochs=50, seeds=3),
}


def summary(method: str, images: int, found: list[dict[str, float]]) -> dict[str, Any]:
    """A row of the table from its seeds.

    Returns:
        mean, std: of top-1, 0 to 1; agreement: with the teacher, a mean; seconds: of a seed's images and student.
    """
    accuracies = [one["top1"] for one in found]
    seconds = {part: statistics.mean(one[f"{part}_seconds"] for one in found) for part in ("images", "student")}
    return {
        "method": method,
        "mean": statistics.mean(accuracies),
        "std": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "agreement": statistics.mean(one["agreement"] for one in found),
        "seeds": len(accuracies),
        "images": images,
        "seconds": round(sum(seconds.values()), 1),
        "images_seconds": round(seconds["images"], 1),
        "student_seconds": round(seconds["student"], 1),
        "top1": accuracies,
    }


def markdown(result: dict[str, Any]) -> str:
    lines = [
        f"# {result['teacher']} to {result['student']}, {result['data']}, budget {result['budget']}",
        "",
        f"`{result['command']}`  ",
        f"{result['hardware']}, {result['date']}. The teacher: {100 * result['teacher_top1']:.2f} %.",
        "",
        "| images | student's top-1 | to the teacher | agreement | seeds | number of images | seconds for images |"
        " seconds for the student |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        spread = f" ± {100 * row['std']:.2f}" if row["seeds"] > 1 else ""
        gap = 100 * (row["mean"] - result["teacher_top1"])
        lines.append(
            f"| {row['method']} | {100 * row['mean']:.2f}{spread} % | {gap:+.2f} | {100 * row['agreement']:.1f} % |"
            f" {row['seeds']} | {row['images']:,} | {row['images_seconds']:.0f} s | {row['student_seconds']:.0f} s |"
        )
    return "\n".join(lines) + "\n"


def without_folders(words: list[str]) -> list[str]:
    """The words of a command, with files by their names alone: folders belong to one machine."""
    return [Path(word).name if "/" in word else word for word in words]

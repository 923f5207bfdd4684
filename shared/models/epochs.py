"""What is recorded of each epoch of a training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..core.files import read_limited
from ..core.records import from_json, parse_json

METRICS = "metrics.jsonl"
_LARGEST = 64 * 2**20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """A line of ``metrics.jsonl``.

    Attributes:
        epoch: number, from 1.
        loss: mean over the images.
        seconds: without those of checkpoints and measurements.
        parts: of the loss, by name; their sum is the loss.
        lr: at the end of the epoch.
        student_top1, teacher_top1: on the images of ``--eval``, 0 to 1; None in epochs that were not measured.
        agreement: on stored images, without ``--eval``; None likewise.
    """

    epoch: int
    loss: float
    seconds: float
    parts: dict[str, float] = field(default_factory=dict)
    lr: float | None = None
    student_top1: float | None = None
    teacher_top1: float | None = None
    agreement: float | None = None

    def figures(self) -> dict[str, float]:
        """What is shown of it, by name."""
        found = {"loss": self.loss, **(self.parts if len(self.parts) > 1 else {}), "lr": self.lr}
        found |= {"student_top1": self.student_top1, "teacher_top1": self.teacher_top1, "agreement": self.agreement}
        return {name: value for name, value in found.items() if value is not None}


def read_epochs(folder: Path) -> list[Epoch]:
    """The epochs of a run, in their order; none where it has trained none.

    Raises:
        ValueError: ``metrics.jsonl`` is damaged.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    return [from_json(Epoch, parse_json(line)) for line in read_limited(path, _LARGEST).splitlines()]

"""What ``di-distill`` takes. Knows no torch, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..shared.config import StageConfig, nested, setting
from .recipe import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig(StageConfig):
    """A student from shards; ``training`` holds the settings of the training loop."""

    out: Path = setting(Path("runs/distill"), help="folder for the student and its report")
    shards: Path = setting(Path("shards"), help="shard folder to learn from")
    student: str | None = setting(None, help="architecture, named as for --teacher [default: the teacher's]")
    teacher: str | None = setting(None, help="where the teacher is, if not where the shards say")
    weights: str | None = setting(None, help="the teacher's weights, if not where the shards say")
    training: Training = nested(Training())
    eval: str | None = setting(
        None, help="real images to measure on: an ImageFolder, a tar, torchvision:NAME:ROOT, or digits"
    )

"""What ``di-distill`` takes. Knows no torch, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..shared.core.config import StageConfig, nested, setting
from ..shared.core.errors import ConfigError
from .recipe import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig(StageConfig):
    """A student from shards; ``training`` holds the settings of the training loop."""

    out: Path = setting(Path("runs/distill"), help="folder for the student and its report")
    shards: Path = setting(Path("shards"), help="shard folder to learn from")
    rounds: int | None = setting(None, help="learn from the folder's first rounds alone, so many [default: all]")
    student: str | None = setting(None, help="architecture, named as for --teacher [default: the teacher's]")
    init: Path | None = setting(None, help="saved model to start from, in place of new weights")
    teacher: str | None = setting(None, help="where the teacher is, if not where the shards say")
    weights: str | None = setting(None, help="the teacher's weights, if not where the shards say")
    training: Training = nested(Training())
    eval: str | None = setting(
        None, help="real images to measure on: an ImageFolder, a tar, torchvision:NAME:ROOT, or digits"
    )

    def __post_init__(self) -> None:
        # Called by name: zero-argument super() does not work in a dataclass with slots.
        StageConfig.__post_init__(self)
        if self.rounds is not None and self.rounds < 1:
            raise ConfigError("--rounds must be 1 or more")
        if self.init and self.student:
            raise ConfigError("--init brings the student's architecture with it: leave --student out")

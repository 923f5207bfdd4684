"""What ``di-distill`` takes. Knows no torch, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..shared.core.config import StageConfig, changes_to, setting
from ..shared.core.errors import ConfigError
from .recipe import REPAIR, STUDENT, Training

_ADAPTIVE = "Adaptive rounds"


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig(StageConfig):
    """A student from shards; ``changes`` holds the settings of the training that replace the defaults."""

    out: Path = setting(Path("runs/distill"), help="folder for the student and its report")
    shards: Path = setting(Path("shards"), help="shard folder to learn from")
    student: str | None = setting(None, help="architecture, named as for --teacher", unset="the teacher's")
    inherit: str = setting(
        "auto",
        help="auto: a student that is its teacher with fewer blocks or channels begins with the teacher's weights",
        choices=("auto", "off"),
    )
    eval: str | None = setting(
        None,
        help="real images to measure on: a folder, tar, CSV or .npz, torchvision:NAME:ROOT, FILE.py:NAME, or digits",
    )
    verify: bool = setting(
        True, help="check every byte of the shards first, those that were checked before excepted", advanced=True
    )
    teacher: str | None = setting(None, help="the teacher, if it has moved since the shards were made")
    weights: str | None = setting(None, help="the teacher's weights, if they have moved since")
    changes: Mapping[str, Any] = changes_to(Training, preset=STUDENT)
    rounds: int | None = setting(
        None,
        help="learn from this many of the folder's first rounds alone",
        unset="all",
        min=1,
        group=_ADAPTIVE,
        advanced=True,
    )
    init: Path | None = setting(
        None, help="saved model to start from, in place of new weights", group=_ADAPTIVE, advanced=True
    )

    @property
    def training(self) -> Training:
        """The settings for new weights. Most do not depend on the weights: see :meth:`training_of`."""
        return self.training_of(trained=False)

    def training_of(self, *, trained: bool) -> Training:
        """All settings.

        Args:
            trained: whether the student begins with weights that were trained.
        """
        return (REPAIR if trained else STUDENT).changed(self.changes)

    def check(self) -> None:
        _ = self.training  # raises ConfigError for a change that makes no sense
        if self.init and self.student:
            raise ConfigError("--init brings the student's architecture with it: leave --student out")

"""What ``di-prune`` takes. Knows no torch, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..distill.recipe import REPAIR, Training
from ..shared.core.config import StageConfig, changes_to, setting

_SELECTION = "Selection of channels"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneConfig(StageConfig):
    """The teacher with channels removed; ``changes`` holds the settings of the repair that replace the defaults."""

    out: Path = setting(Path("runs/prune"), help="folder for the pruned network and its report")
    shards: Path = setting(Path("shards"), help="shard folder, made from the network to prune")
    ratio: float = setting(
        0.3,
        help="share of the filters to remove: outputs of convolutions, and of linear layers but the last",
        above=0,
        below=1,
    )
    eval: str | None = setting(
        None, help="real images to measure on: an ImageFolder, a tar, torchvision:NAME:ROOT, or digits"
    )
    latency_batch: int = setting(1, help="images in a forward pass when latency is measured", min=1)
    verify: bool = setting(
        True, help="check every byte of the shards first, those that were checked before excepted", advanced=True
    )
    teacher: str | None = setting(None, help="the teacher, if it has moved since the shards were made")
    weights: str | None = setting(None, help="the teacher's weights, if they have moved since")
    iterations: int = setting(
        5, help="times to score channels and remove a part of them", min=1, group=_SELECTION, advanced=True
    )
    score_images: int = setting(
        1024, help="most images that each scoring takes", min=1, group=_SELECTION, advanced=True
    )
    changes: Mapping[str, Any] = changes_to(Training, preset=REPAIR, group="Repair by distillation")

    @property
    def training(self) -> Training:
        return REPAIR.changed(self.changes)

    def check(self) -> None:
        _ = self.training  # raises ConfigError for a change that makes no sense

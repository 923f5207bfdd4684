"""What ``di-prune`` takes. Knows no torch, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..distill.recipe import Training
from ..shared.core.config import StageConfig, nested, setting
from ..shared.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneConfig(StageConfig):
    """The teacher with channels removed; ``training`` holds the settings of the repair."""

    out: Path = setting(Path("runs/prune"), help="folder for the pruned network and its report")
    shards: Path = setting(Path("shards"), help="shard folder, made from the network to prune")
    ratio: float = setting(0.3, help="share of the convolution filters to remove, above 0 and below 1")
    iterations: int = setting(5, help="times to score and remove; the rest is scored anew each time")
    score_images: int = setting(1024, help="images that each scoring takes, at most")
    teacher: str | None = setting(None, help="where the teacher is, if not where the shards say")
    weights: str | None = setting(None, help="the teacher's weights, if not where the shards say")
    training: Training = nested(Training(lr=0.03, warmup_epochs=1))  # as a student, but it begins with something
    latency_batch: int = setting(1, help="images a forward when latency is measured")
    eval: str | None = setting(
        None, help="real images to measure on: an ImageFolder, a tar, torchvision:NAME:ROOT, or digits"
    )

    def __post_init__(self) -> None:
        # Called by name: zero-argument super() does not work in a dataclass with slots.
        StageConfig.__post_init__(self)
        if not 0 < self.ratio < 1:
            raise ConfigError(f"--ratio must lie above 0 and below 1, not {self.ratio}")
        for name in ("iterations", "score_images", "latency_batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be 1 or more")

"""How a network is trained from shards: settings that ``di-distill`` and the repair in ``di-prune`` share."""

from __future__ import annotations

from dataclasses import dataclass

from ..shared.core.config import setting
from ..shared.core.errors import ConfigError

STEPS = 8000  # of gradient descent, which small sets take many passes for
PASSES = 100, 1000  # for any set, and for none


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Knowledge distillation by Muon and a cosine schedule.

    By default images are cropped and mixed hard, also with random shapes, for made images are few, alike, and easily
    learned by heart; the teacher tells what it sees in each result, so that no two passes are alike, and many of them
    pay (Beyer et al. 2022). It tells its feature maps too, which say more than its answers.
    """

    epochs: int | None = setting(
        None,
        help=f"passes over the shards; auto: {STEPS:,} steps, in {PASSES[0]} passes or more and {PASSES[1]:,} or fewer "
        "[default: auto]",
    )
    batch_size: int = setting(32, help="images a step: small ones, for few images make few steps")
    lr: float = setting(
        0.05, help="learning rate at its highest: how far a step turns a weight, as a share of its length"
    )
    warmup_epochs: int = setting(8, help="epochs of linear warm-up")
    momentum: float = setting(0.9, help="Nesterov momentum; of biases and BatchNorms Adam's first decay rate")
    temperature: float = setting(4.0, help="softens both distributions; the loss is scaled by its square")
    feature_weight: float = setting(
        5000.0, help="weight of guessing the teacher's feature maps; 0 is off, as where labels are stored"
    )
    labels: str = setting(
        "auto",
        help="soft labels: stored with the images, or the teacher's for the very crop; auto: teacher if it loads",
        choices=("auto", "stored", "teacher"),
    )
    crop: str = setting(
        "auto",
        help="resized: random area; pad: shift by up to an eighth; auto: resized, or pad where labels are stored",
        choices=("auto", "resized", "pad", "none"),
    )
    min_area: float = setting(0.5, help="smallest share of the image that a resized crop keeps")
    flip: bool = setting(True, help="mirror images at random; not for digits and letters")
    mixup: float = setting(4.0, help="mixup's alpha: the higher, the more even are the shares; 0 is off")
    shape_cutmix: float = setting(
        0.5, help="share of mixed images that are cut along random shapes in place of blended"
    )
    dead_leaves: float = setting(
        0.3, help="share of mixup's partners that are random shapes; 0 is off, as where labels are stored"
    )
    loader: str = setting("auto", help="auto: DALI if installed", choices=("auto", "dali", "webdataset"))

    def __post_init__(self) -> None:
        for name, low in (("epochs", 0), ("batch_size", 2), ("warmup_epochs", 0)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"--{name.replace('_', '-')} must be {low} or more")
        if self.lr <= 0 or self.temperature <= 0:
            raise ConfigError("--lr and --temperature must be above 0")
        if not 0 <= self.momentum < 1:
            raise ConfigError("--momentum must lie in [0, 1)")
        if min(self.feature_weight, self.mixup) < 0:
            raise ConfigError("--feature-weight and --mixup must be 0 or more")
        if not 0 <= self.shape_cutmix <= 1 or not 0 <= self.dead_leaves <= 1:
            raise ConfigError("--shape-cutmix and --dead-leaves must lie in [0, 1]")
        if not 0 < self.min_area <= 1:
            raise ConfigError("--min-area must lie above 0 and up to 1")

    def passes(self, steps: int) -> int:
        """How many epochs to train, of so many steps each."""
        if self.epochs is not None:
            return self.epochs
        fewest, most = PASSES
        return min(most, max(fewest, -(-STEPS // steps)))

"""How a network is trained from shards: settings that ``di-distill`` and the repair in ``di-prune`` share."""

from __future__ import annotations

from dataclasses import dataclass

from ..shared.core.config import Settings, setting

STEPS = 8000  # gradient steps that --epochs auto aims at; small sets take many passes for them
PASSES = 100, 1000  # fewest and most passes that it takes

_TRAINING, _VIEWS = "Training", "Views of the images"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training(Settings):
    """Knowledge distillation by Muon and a cosine schedule.

    By default images are cropped and mixed hard, also with random shapes: synthetic images are few and alike, and
    easily learned by heart. The teacher labels each result, so no two passes are alike, and many of them pay (Beyer et
    al. 2022). The student also learns the teacher's feature maps, which say more than its outputs.
    """

    epochs: int | None = setting(
        None,
        help=f"passes over the shards; auto: {STEPS:,} steps, in {PASSES[0]} to {PASSES[1]:,} passes",
        unset="auto",
        min=0,
        group=_TRAINING,
    )
    batch_size: int = setting(
        32,
        help="images in a step; small batches make many steps of few images",
        min=2,
        group=_TRAINING,
        advanced=True,
    )
    lr: float = setting(
        0.05,
        help="highest learning rate: how far a step turns a weight, as a share of its length; 0.01 where the network"
        " begins with trained weights",
        above=0,
        group=_TRAINING,
    )
    warmup_epochs: int = setting(
        8,
        help="epochs of linear warm-up, but at most a tenth of the training; 1 where the network begins with trained"
        " weights",
        min=0,
        group=_TRAINING,
        advanced=True,
    )
    momentum: float = setting(
        0.9,
        help="Nesterov momentum, and Adam's first decay rate for biases and BatchNorms",
        min=0,
        below=1,
        group=_TRAINING,
        advanced=True,
    )
    temperature: float = setting(
        4.0,
        help="softens both distributions; the loss is scaled by its square",
        above=0,
        group=_TRAINING,
        advanced=True,
    )
    feature_weight: float = setting(
        5000.0,
        help="weight of feature distillation; 0 is off, and so are stored labels",
        min=0,
        group=_TRAINING,
        advanced=True,
    )
    labels: str = setting(
        "auto",
        help="soft labels: stored with the images, or the teacher's for each view; auto: teacher if it loads",
        choices=("auto", "stored", "teacher"),
        group=_TRAINING,
        advanced=True,
    )
    crop: str = setting(
        "auto",
        help="resized: random area; pad: shift by up to an eighth; auto: resized, or pad where labels are stored",
        choices=("auto", "resized", "pad", "none"),
        group=_VIEWS,
        advanced=True,
    )
    min_area: float = setting(
        0.5,
        help="smallest share of the image that a resized crop keeps",
        above=0,
        max=1,
        group=_VIEWS,
        advanced=True,
    )
    flip: bool = setting(True, help="mirror images at random; not for digits and letters", group=_VIEWS)
    mixup: float = setting(
        4.0,
        help="mixup's alpha: the higher, the more even are the shares; 0 is off",
        min=0,
        group=_VIEWS,
        advanced=True,
    )
    shape_cutmix: float = setting(
        0.5,
        help="share of mixed images that are cut along random shapes and not blended",
        min=0,
        max=1,
        group=_VIEWS,
        advanced=True,
    )
    dead_leaves: float = setting(
        0.3,
        help="share of mixing partners that are pictures of random shapes; 0 is off, and so are stored labels",
        min=0,
        max=1,
        group=_VIEWS,
        advanced=True,
    )
    loader: str = setting(
        "auto", help="auto: DALI if installed", choices=("auto", "dali", "webdataset"), group=_TRAINING, advanced=True
    )

    compile: str = setting(
        "auto",
        help="torch.compile teacher and student; auto: where the training is long enough to repay it",
        choices=("auto", "on", "off"),
        group=_TRAINING,
        advanced=True,
    )
    interpolate: str = setting(
        "auto",
        help="auto: a network that begins with trained weights ends with those between its first and its last at which"
        " it answers best for images upside down; off: with the last",
        choices=("auto", "off"),
        group=_TRAINING,
        advanced=True,
    )
    tensorboard: bool = setting(
        False, help="write event files for TensorBoard into OUT/tensorboard", group=_TRAINING, advanced=True
    )

    @property
    def interpolates(self) -> bool:
        return self.interpolate == "auto" and self.epochs != 0

    def passes(self, steps: int) -> int:
        """How many epochs of ``steps`` steps each to train."""
        if self.epochs is not None:
            return self.epochs
        fewest, most = PASSES
        return min(most, max(fewest, -(-STEPS // steps)))


STUDENT = Training()
REPAIR = Training(lr=0.01, warmup_epochs=1)  # the network begins with trained weights: longer steps overwrite them
# New classes: the network begins with trained weights, and labels are those of whole images. Only where the old network
# answers for synthetic ones are they mixed.
EXTEND = Training(
    epochs=20,
    batch_size=128,
    lr=0.01,
    warmup_epochs=1,
    feature_weight=0.0,
    labels="stored",
)

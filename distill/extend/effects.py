"""Which settings of a training on new classes have no effect in a run, and why."""

from __future__ import annotations

from dataclasses import fields

from ..recipe import Training
from .config import ExtendConfig
from .views import ReplayViews

_OF_DISTILLATION: tuple[str, ...] = ("temperature", "feature_weight", "labels", "interpolate")


def without_effect(config: ExtendConfig, views: ReplayViews) -> dict[str, str]:
    """Setting -> why it changes nothing, for every setting that does not."""
    training = config.training
    if training.epochs == 0:
        return {item.name: "--epochs is 0" for item in fields(Training) if item.name != "epochs"}
    found: dict[str, str] = dict.fromkeys(
        _OF_DISTILLATION, "di-extend trains on classes, and not on a teacher's soft labels"
    )
    if views.crop != "resized":
        found["min_area"] = "--crop is none" if views.crop == "none" else "images are shifted, not cut out"
    if not views.answered or config.share == 1:
        mixing = "mixup", "shape_cutmix", "dead_leaves"
        found |= dict.fromkeys(mixing, "the old network answers for no image, so none is mixed")
    elif not training.mixup:
        found |= dict.fromkeys(("shape_cutmix", "dead_leaves"), "--mixup is 0")
    return found

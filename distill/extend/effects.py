"""Which settings of a training on new classes have no effect in a run, and why."""

from __future__ import annotations

from dataclasses import fields

from ..recipe import Training
from ..views import Views
from .config import ExtendConfig

_OF_DISTILLATION: tuple[str, ...] = ("temperature", "feature_weight", "labels", "dead_leaves", "interpolate")


def without_effect(config: ExtendConfig, views: Views) -> dict[str, str]:
    """Setting -> why it changes nothing, for every setting that does not."""
    training = config.training
    if training.epochs == 0:
        return {item.name: "--epochs is 0" for item in fields(Training) if item.name != "epochs"}
    found: dict[str, str] = dict.fromkeys(
        _OF_DISTILLATION, "di-extend trains on classes, and not on a teacher's soft labels"
    )
    if views.crop != "resized":
        found["min_area"] = "--crop is none" if views.crop == "none" else "images are shifted, not cut out"
    if not training.mixup:
        found["shape_cutmix"] = "--mixup is 0"
    return found

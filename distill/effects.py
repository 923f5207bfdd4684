"""Which settings of a training have no effect in a run, and why."""

from __future__ import annotations

from dataclasses import fields

from .criterion import Distillation
from .recipe import Training
from .views import Views


def without_effect(training: Training, criterion: Distillation, views: Views, *, interpolates: bool) -> dict[str, str]:
    """Setting -> why it changes nothing, for every setting that does not.

    Args:
        interpolates: whether the training may end with weights between its first and its last.
    """
    if training.epochs == 0:
        return {item.name: "--epochs is 0" for item in fields(Training) if item.name != "epochs"}
    found: dict[str, str] = (
        {} if interpolates else {"interpolate": "the network begins with new weights, or has no teacher"}
    )
    if views.crop != "resized":
        found["min_area"] = "--crop is none" if views.crop == "none" else "images are shifted, not cut out"
    if not training.mixup:
        found |= dict.fromkeys(("shape_cutmix", "dead_leaves"), "--mixup is 0")
    if not criterion.pairs:
        found["feature_weight"] = "teacher and student have no feature maps of one size"
    if criterion.teacher is None:
        found |= dict.fromkeys(("feature_weight", "dead_leaves"), "the stored logits are the labels, for whole images")
    return found

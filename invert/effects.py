"""Which settings of ``di-invert`` have no effect in a run, and why."""

from __future__ import annotations

from .inputs import Inputs

_OPTIMISED = "lr betas warmup schedule statistics first_bn compete_with compete_temperature flip clip compile precision"
_WEIGHTS = "alpha_class alpha_tv alpha_l2 alpha_feature alpha_compete alpha_similar"


def without_effect(inputs: Inputs) -> dict[str, str]:
    """Setting -> why it changes nothing, for every setting that does not."""
    recipe, found = inputs.recipe, dict[str, str]()
    if recipe.parametrization != "spectrum":
        found["falloff"] = f"--parametrization is {recipe.parametrization}"
    if recipe.jitter == 0:
        found["shift"] = "--jitter is 0"
    if not recipe.alpha_feature:
        found |= dict.fromkeys(("statistics", "first_bn"), "--alpha-feature is 0")
    if not recipe.alpha_compete:
        reason = "--alpha-compete is 0" if inputs.student else "there is no --compete-with"
        found |= dict.fromkeys(("compete_with", "compete_temperature"), reason)
    if not any(recipe.steps):
        found |= dict.fromkeys([*_OPTIMISED.split(), *_WEIGHTS.split()], "--steps is 0")
    if inputs.device is not None and inputs.device.type == "cuda":
        found["threads"] = "the images are made on a GPU"
    return found

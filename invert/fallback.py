"""The default recipe for networks that it does not fit: what they cannot give or take is left out, and said."""

from __future__ import annotations

from collections.abc import Collection

from ..shared.core.errors import ConfigError
from ..shared.models.classifier import Classifier
from .execution import Log
from .priors import make_priors
from .recipe import Recipe


def fitted(recipe: Recipe, teacher: Classifier, *, asked: Collection[str], log: Log) -> Recipe:
    """The default recipe without the priors and the resolutions that do not work with this teacher.

    Args:
        asked: names of the settings that the user has given: those stay, and are refused if they do not work.
        log: called with a line for the user for each thing that is left out.
    """
    for prior in make_priors(recipe):
        if f"alpha_{prior.name}" not in asked and not prior.layers(teacher.network):
            log(f"{teacher.title} has no {prior.needs}: images are made without that term, and students learn less")
            recipe = recipe.changed({f"alpha_{prior.name}": 0.0})
    if "scales" in asked or len(recipe.scales) == 1:
        return recipe
    resolutions = recipe.resolutions(teacher.preprocessing.image_size)
    works = [number for number, each in enumerate(resolutions) if _takes(teacher, each.size)]
    left_out = [f"{each.size} px" for number, each in enumerate(resolutions) if number not in works]
    if not left_out:
        return recipe
    log(f"{teacher.title} does not take images of {', '.join(left_out)}: the recipe goes without that resolution")
    return recipe.changed(
        {
            "scales": tuple(recipe.scales[number] for number in works),
            "steps": tuple(resolutions[number].steps for number in works),
        }
    )


def _takes(teacher: Classifier, size: int) -> bool:
    try:
        teacher.check_size(size)
    except ConfigError:
        return False
    return True

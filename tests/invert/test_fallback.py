"""The default recipe without what a network cannot give or take."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dreamdistill.invert.engine import check_recipe
from dreamdistill.invert.fallback import fitted
from dreamdistill.invert.recipe import RECIPES, Recipe
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.classifier import Classifier

PUBLISHED = RECIPES["imagenet-deepinversion"]


class OneSize(nn.Module):
    """Takes images of 16 px alone."""

    def __init__(self, *, batchnorm: bool) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4) if batchnorm else nn.Identity()
        self.linear = nn.Linear(4 * 256, 10)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.linear(self.norm(self.conv(x_NCHW)).flatten(1))


def classifier(*, batchnorm: bool) -> Classifier:
    torch.manual_seed(0)
    return Classifier(OneSize(batchnorm=batchnorm), mean=(0.5,) * 3, std=(0.5,) * 3, image_size=16)


def fit(recipe: Recipe, teacher: Classifier, *asked: str) -> tuple[Recipe, list[str]]:
    lines: list[str] = []
    return fitted(recipe, teacher, asked=asked, log=lines.append), lines


def test_what_does_not_work_falls_away_and_is_said() -> None:
    teacher = classifier(batchnorm=False)

    recipe, lines = fit(PUBLISHED, teacher)

    assert recipe == PUBLISHED.changed({"alpha_feature": 0.0, "scales": (1.0,), "steps": (1000,)})
    check_recipe(teacher, recipe)
    assert len(lines) == 2
    assert "no BatchNorm layer" in lines[0]
    assert "8 px" in lines[1]


def test_one_number_of_steps_stays_that_number() -> None:
    recipe, _ = fit(PUBLISHED.changed({"steps": (7,)}), classifier(batchnorm=True), "steps")
    assert (recipe.steps, recipe.scales, recipe.alpha_feature) == ((7,), (1.0,), PUBLISHED.alpha_feature)


def test_what_the_user_asked_for_stays_and_is_refused() -> None:
    teacher = classifier(batchnorm=False)
    recipe, lines = fit(PUBLISHED, teacher, "alpha_feature", "scales")
    assert (recipe, lines) == (PUBLISHED, [])
    with pytest.raises(ConfigError, match="no BatchNorm layer"):
        check_recipe(teacher, recipe)


def test_a_network_that_takes_all_keeps_all() -> None:
    natural = RECIPES["natural"]
    assert fit(natural, classifier(batchnorm=True)) == (natural, [])

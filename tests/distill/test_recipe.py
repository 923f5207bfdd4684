"""The settings of a training: how many epochs, and which values are refused."""

from __future__ import annotations

import pytest

from dreamdistill.distill.recipe import Training
from dreamdistill.shared.core.errors import ConfigError


def test_small_sets_take_more_epochs_up_to_a_bound() -> None:
    assert [Training().passes(steps) for steps in (1, 8, 16, 80, 5000)] == [1000, 1000, 500, 100, 100]
    assert Training(epochs=3).passes(16) == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1},
        {"lr": 0.0},
        {"temperature": 0.0},
        {"min_area": 0.0},
        {"mixup": -1.0},
        {"epochs": -1},
        {"feature_weight": -1.0},
        {"dead_leaves": 1.5},
        {"shape_cutmix": -0.1},
    ],
)
def test_values_out_of_range_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigError):
        Training(**settings)

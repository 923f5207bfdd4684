"""How far two sets of features are told apart: not at all, wholly, and on images that did not fit the classifier."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dreamdistill.distill.extend.separation import SeparationSets, separation
from dreamdistill.shared.data.labelled import open_labelled
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.shards.folder import ShardFolder


def features(seed: int, shift: float, count: int = 400) -> torch.Tensor:
    return torch.randn(count, 12, generator=torch.Generator().manual_seed(seed)) + shift


def test_features_of_one_distribution_are_not_told_apart() -> None:
    assert separation(features(0, 0.0), features(1, 0.0)) == pytest.approx(0.5, abs=0.08)


def test_features_far_apart_are_told_apart() -> None:
    assert separation(features(0, 0.0), features(1, 2.0)) > 0.99


def test_features_known_by_heart_are_no_evidence() -> None:
    """More dimensions than images: whatever fits them is measured on others."""
    one, other = (torch.randn(60, 300, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert separation(one, other) == pytest.approx(0.5, abs=0.2)


def test_a_constant_feature_does_no_harm() -> None:
    assert 0 <= separation(torch.zeros(40, 3), torch.zeros(40, 3)) <= 1


def test_both_sets_have_as_many_images_of_each_class(made_shards: Path) -> None:
    sets = SeparationSets(ShardFolder.open(made_shards), open_labelled("digits", 10), old=10)
    assert len(sets.synthetic) == len(sets.real) > 20
    found = sets.measure(load_model("digits_cnn").network)
    assert found is not None
    assert 0.3 < found <= 1

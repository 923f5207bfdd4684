"""Measures against plain float64 references, and scores of real shards with real images."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dreamdistill.invert.priors import BatchNormStatistics
from dreamdistill.invert.taps import TappedNetwork
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.features import FeatureCollector
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.measures import diversity, frechet_distance
from dreamdistill.shared.shards.quality import read_score, score_folder


def draws(count: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_diversity_is_the_mean_over_pairs_of_each_class() -> None:
    features, targets = draws(7, 5, seed=0), torch.tensor([0, 0, 1, 1, 1, 2, 0])
    rows = features.double().numpy()
    means = []
    for target in (0, 1):  # class 2 has no pair
        own = [row / np.linalg.norm(row) for row in rows[targets.numpy() == target]]
        means.append(np.mean([1 - a @ b for i, a in enumerate(own) for b in own[i + 1 :]]))
    assert diversity(features, targets) == pytest.approx(np.mean(means), abs=1e-12)
    assert diversity(features[:1].repeat(4, 1), torch.zeros(4)) == pytest.approx(0, abs=1e-12)
    assert diversity(features[:2], torch.tensor([0, 1])) == 0


def test_frechet_distance_of_two_sets() -> None:
    a, b = draws(500, 6, seed=1), 2 * draws(400, 6, seed=2) + 1
    x, y = a.double().numpy(), b.double().numpy()
    cx, cy = np.cov(x.T), np.cov(y.T)
    roots = np.sqrt(np.linalg.eigvals(cx @ cy).real.clip(min=0)).sum()
    wanted = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx) + np.trace(cy) - 2 * roots
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_features_of_a_set_do_not_depend_on_its_batches() -> None:
    teacher = load_model("digits_cnn")
    images = torch.randn(30, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    found = []
    for size in (30, 7):
        with FeatureCollector(teacher.network) as collector:
            for batch in images.split(size):
                collector.add(batch)
        found.append(collector.features())
    outputs = TappedNetwork(teacher.network, [BatchNormStatistics()])(images)
    whole, parts = found
    assert whole.statistics_distance == pytest.approx(float(outputs.terms["feature"]), rel=1e-5)
    assert parts.statistics_distance == pytest.approx(whole.statistics_distance, rel=1e-6)
    torch.testing.assert_close(parts.logits, outputs.logits_NK)
    assert whole.features.shape[0] == 30
    assert not any(module._forward_pre_hooks for module in teacher.network.modules())


def test_a_network_without_batchnorm_and_linear_layer_has_features_too() -> None:
    with FeatureCollector(nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten())) as collector:
        collector.add(torch.ones(2, 1, 8, 8))
    found = collector.features()
    assert found.statistics_distance is None
    assert found.features.shape == (2, 3)


def test_a_score_is_written_and_not_measured_again(shards: Path) -> None:
    found = score_folder(shards, verifier="digits_cnn", real="digits")
    record = json.loads((shards / "score.json").read_text())
    assert record["synthetic"]["images"] == 40
    folder = ShardFolder.open(shards)
    agreement = sum(r.agreement * r.count for r in folder.records.values()) / 40
    assert folder.agreement == pytest.approx(agreement)
    assert found.synthetic.agreement == pytest.approx(agreement)
    assert found.synthetic.verifier_agreement == found.synthetic.agreement  # here the teacher is its own verifier
    assert found.real is not None
    assert found.real.images == 450
    assert found.real.agreement == pytest.approx(435 / 450)
    assert found.frechet is not None
    assert found.frechet > 0
    assert read_score(folder) == found
    before = (shards / "score.json").stat().st_mtime_ns
    assert score_folder(shards, verifier="digits_cnn", real="digits") == found
    assert (shards / "score.json").stat().st_mtime_ns == before
    assert score_folder(shards).frechet is None  # other inputs, so it is measured again
    assert not math.isnan(found.synthetic.diversity)


def test_a_score_of_other_content_or_a_damaged_one_does_not_count(shards: Path) -> None:
    score_folder(shards)
    for suffix in ("json", "tar", "idx"):
        (shards / f"000001.{suffix}").unlink()
    assert read_score(ShardFolder.open(shards)) is None
    (shards / "score.json").write_text("{")
    assert read_score(ShardFolder.open(shards)) is None


def test_networks_that_do_not_fit_are_refused(shards: Path) -> None:
    with pytest.raises(ConfigError, match="1000 classes and the teacher 10"):
        score_folder(shards, verifier="resnet18", verifier_weights="none")
    with pytest.raises(ConfigError, match="--verifier"):
        score_folder(shards, verifier_weights="some.pth")
    assert not (shards / "score.json").exists()

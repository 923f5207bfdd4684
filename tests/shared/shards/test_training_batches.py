"""Batches for a custom training loop: their content, and that a network learns from them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.loaders import dali_is_installed
from dreamdistill.shared.shards.training_batches import TrainingBatch, training_batches

LOADERS = [
    "webdataset",
    pytest.param("dali", marks=pytest.mark.skipif(not dali_is_installed(), reason="DALI is not installed")),
]


def order(batches: list[TrainingBatch]) -> list[list[float]]:
    """The logits of an epoch, in its order: no two samples have the same."""
    return torch.cat([batch.logits for batch in batches]).tolist()


@pytest.mark.parametrize("loader", LOADERS)
def test_a_network_learns_in_a_loop_of_ten_lines(loader: str, grey: ShardFolder) -> None:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    batches = training_batches(grey.path, batch_size=8, loader=loader)
    losses = []
    for _epoch in range(30):
        for images, logits, _targets in batches:
            loss = F.kl_div(student(images).log_softmax(1), logits.softmax(1), reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert len(losses) == 30 * len(batches) == 120
    assert sum(losses[-4:]) < 0.1 * sum(losses[:4])


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", ["grey", "jpeg"])
def test_batches_have_normalised_images_logits_and_targets(
    loader: str, name: str, request: pytest.FixtureRequest
) -> None:
    folder: ShardFolder = request.getfixturevalue(name)
    record = folder.manifest.teacher
    batches = list(training_batches(str(folder.path), batch_size=8, shuffle=False, loader=loader))
    assert [len(batch.targets) for batch in batches] == [8, 8, 8, 2]
    images, logits, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert images.shape == (26, record.channels, record.image_size, record.image_size)
    assert (images.dtype, logits.dtype, targets.dtype) == (torch.float32, torch.float32, torch.int64)
    assert targets.tolist() == [i % 10 for i in range(26)]
    mean, std = (torch.tensor(values)[:, None, None] for values in (record.mean, record.std))
    pixels = (images * std + mean) * 255
    assert torch.allclose(pixels, pixels.round(), atol=1e-3)
    assert 0 <= pixels.round().min() < pixels.round().max() <= 255
    teacher = load_model(record.title, weights=record.weights, image_size=record.image_size)
    assert torch.allclose(teacher.network(images), logits, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("loader", LOADERS)
def test_every_iteration_is_an_epoch_with_another_order(loader: str, grey: ShardFolder) -> None:
    batches = training_batches(grey, batch_size=8, loader=loader, seed=5)
    epochs = [order(list(batches)) for _ in range(2)]
    next(iter(batches))  # an epoch that is left early
    epochs += [order(list(batches)) for _ in range(2)]
    assert [len(epoch) for epoch in epochs] == [26] * 4
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert not any(epochs[i] == epochs[j] for i in range(4) for j in range(i))
    again = training_batches(grey, batch_size=8, loader=loader, seed=5)
    assert [order(list(again)) for _ in range(2)] == epochs[:2]
    assert order(list(training_batches(grey, batch_size=8, loader=loader, seed=6))) != epochs[0]


@pytest.mark.parametrize("loader", LOADERS)
def test_two_iterations_at_once_do_not_disturb_each_other(loader: str, grey: ShardFolder) -> None:
    batches = training_batches(grey, batch_size=8, loader=loader, shuffle=False)
    expected = order(list(batches))
    first, second = zip(*zip(batches, batches, strict=True), strict=True)
    assert order(list(first)) == order(list(second)) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"loader": "webdatset"}, "did you mean 'webdataset'"),
        ({"device": "gpu"}, "--device must be"),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any], message: str, grey: ShardFolder) -> None:
    with pytest.raises(ConfigError, match=message):
        training_batches(grey, **arguments)

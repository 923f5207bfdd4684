"""Views of batches of synthetic and new images: which images are mixed."""

from __future__ import annotations

import torch

from dreamdistill.distill.extend.batches import MixedBatch
from dreamdistill.distill.extend.views import ReplayViews
from dreamdistill.distill.recipe import Training
from dreamdistill.shared.core.launch import Rows
from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.shards.batches import Batch

TAKEN = Preprocessing(mean=(0.5,), std=(0.5,), image_size=8)


def unmixed(batch: Batch, *, answered: bool = True, mixup: float = 4.0, dead_leaves: float = 0.0) -> list[bool]:
    """Which images a view leaves as they are."""
    training = Training(crop="none", flip=False, mixup=mixup, dead_leaves=dead_leaves, shape_cutmix=0.0)
    views = ReplayViews(training=training, preprocessing=TAKEN, relabelled=False, answered=answered)
    torch.manual_seed(0)
    view = views(batch)
    assert view.mixing is None  # no label has to know of it
    return (view.x_NCHW == TAKEN.normalize(batch.images)).flatten(1).all(1).tolist()


def batch(synthetic: int) -> MixedBatch:
    images = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return MixedBatch(images, torch.zeros(8, 3), torch.zeros(8, dtype=torch.long), Rows(8), synthetic)


def test_synthetic_images_alone_are_mixed() -> None:
    found = unmixed(batch(5))
    assert found[5:] == [True] * 3
    assert found[:5].count(False) >= 3  # one or two may have themselves as their partner
    assert unmixed(batch(8))[5:].count(False) >= 1


def test_dead_leaves_are_partners_of_synthetic_images() -> None:
    assert unmixed(batch(2), dead_leaves=1.0) == [False] * 2 + [True] * 6


def test_nothing_is_mixed_where_nobody_answers_or_there_is_nothing_to_mix() -> None:
    assert all(unmixed(batch(8), answered=False))
    assert all(unmixed(batch(8), mixup=0.0))
    assert all(unmixed(batch(0)))
    assert all(unmixed(batch(1)))


def test_a_plain_batch_is_synthetic_as_a_whole() -> None:
    """So that the estimate of a step, which has such a batch, counts the mixing."""
    whole = batch(8)
    plain = Batch(whole.images, whole.logits, whole.targets, whole.rows)
    assert unmixed(plain, dead_leaves=1.0) == [False] * 8

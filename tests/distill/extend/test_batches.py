"""Mixed batches: their shares, their targets, and orders that go on after a kill."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from dreamdistill.distill.extend.batches import MixedLoader, batch_shares
from dreamdistill.distill.extend.new_images import NewImages
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.loaders import make_loader

DEVICE = torch.device("cpu")


def new_images(count: int) -> NewImages:
    """Grey images: each has its number as the value of all its pixels."""
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 1, 8, 8).contiguous()
    return NewImages(pixels_NCHW=pixels, labels_N=torch.arange(count) % 2, num_classes=2, class_names=())


def mixed(shards: Path, count: int, *, batch_size: int = 16, share: float = 0.5) -> MixedLoader:
    size, _ = batch_shares(batch_size, share)
    folder = ShardFolder.open(shards)
    synthetic = (
        make_loader(folder, "webdataset", batch_size=size, shuffle=True, seed=3, device=DEVICE) if size else None
    )
    return MixedLoader(synthetic, new_images(count), old=10, batch_size=batch_size, share=share, seed=3, device=DEVICE)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, (16, 16)), (0.2, (26, 6)), (0.001, (31, 1)), (0.999, (1, 31)), (1, (0, 32))]
)
def test_each_kind_has_its_share_of_a_batch(share: float, expected: tuple[int, int]) -> None:
    assert batch_shares(32, share) == expected


def test_an_epoch_shows_every_image_of_both_kinds(made_shards: Path) -> None:
    """40 synthetic images make 5 batches, 60 new ones 8: two passes over the synthetic ones are needed."""
    loader = mixed(made_shards, 60)
    batches = list(loader)
    assert len(batches) == len(loader) == 10
    stored = Counter(batch.images[i].numpy().tobytes() for batch in batches for i in range(8))
    assert set(stored.values()) == {2}
    assert len(stored) == 40
    new = Counter(int(batch.images[i, 0, 0, 0]) for batch in batches for i in range(8, 16))
    assert set(new) == set(range(60))
    assert max(new.values()) <= 2


def test_targets_count_all_classes(made_shards: Path) -> None:
    for batch in mixed(made_shards, 20):
        assert torch.equal(batch.targets[:8], batch.logits[:8].argmax(1))
        assert torch.equal(batch.targets[8:], 10 + batch.images[8:, 0, 0, 0].long() % 2)
        assert batch.rows.total == len(batch) == len(batch.images) == 16


def test_a_last_smaller_batch_keeps_the_share(made_shards: Path) -> None:
    sizes = [(int((batch.targets < 10).sum()), len(batch)) for batch in mixed(made_shards, 10, batch_size=24)]
    assert sizes == [(12, 24), (12, 24), (12, 24), (4, 8)]


def test_new_images_alone(made_shards: Path) -> None:
    loader = mixed(made_shards, 20, share=1)
    assert [len(batch) for batch in loader] == [16, 16]
    assert all(int(batch.targets.min()) >= 10 for batch in loader)


def test_the_orders_differ_from_epoch_to_epoch_and_go_on_in_another_process(made_shards: Path) -> None:
    loader = mixed(made_shards, 30)
    first, second = (torch.cat([batch.images for batch in loader]) for _ in range(2))
    assert not torch.equal(first, second)
    again = mixed(made_shards, 30)
    list(again)
    state, other = again.state_dict(), mixed(made_shards, 30)
    other.load_state_dict(state)
    assert torch.equal(torch.cat([batch.images for batch in other]), second)

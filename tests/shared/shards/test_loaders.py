"""Both loaders give the same samples, all of them in each epoch, and continue from a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from helpers import ODD_NAMES

from dreamdistill.shared.core.launch import Place
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.shards.batches import Batch, Loader
from dreamdistill.shared.shards.dali_loader import DaliLoader
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.loaders import ALONE, dali_is_installed, make_loader

LOADERS = [
    "webdataset",
    pytest.param("dali", marks=pytest.mark.skipif(not dali_is_installed(), reason="DALI is not installed")),
]


def loader(folder: ShardFolder, kind: str, *, shuffle: bool = False, place: Place = ALONE) -> Loader:
    return make_loader(
        folder, kind, batch_size=8, shuffle=shuffle, seed=3, device=torch.device("cpu"), place=place, in_memory=False
    )


def together(batches: list[Batch]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.cat([batch.images for batch in batches]),
        torch.cat([batch.logits for batch in batches]),
        torch.cat([batch.targets for batch in batches]),
    )


@pytest.mark.skipif(not dali_is_installed(), reason="DALI is not installed")
@pytest.mark.parametrize("name", ["grey", "jpeg"])
def test_both_loaders_give_identical_samples(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    dali, webdataset = (together(list(loader(folder, kind))) for kind in ("dali", "webdataset"))
    for one, other in zip(dali, webdataset, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    assert dali[0].shape[0] == 26


@pytest.mark.parametrize("kind", LOADERS)
def test_the_stored_logits_are_the_teachers_for_the_decoded_image(kind: str, grey: ShardFolder) -> None:
    teacher = load_model("digits_cnn")
    images, logits, _ = together(list(loader(grey, kind)))
    assert torch.allclose(teacher.network(teacher.preprocessing.normalize(images)), logits, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("kind", LOADERS)
def test_every_epoch_has_every_sample_once_and_in_another_order(kind: str, grey: ShardFolder) -> None:
    plain = together(list(loader(grey, kind)))[1]
    shuffled = loader(grey, kind, shuffle=True)
    assert len(shuffled) == 4
    epochs = [together(list(shuffled))[1] for _ in range(3)]
    for epoch in epochs:
        assert torch.equal(epoch.sort(0).values, plain.sort(0).values)
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], plain)


@pytest.mark.parametrize("kind", LOADERS)
def test_a_restored_loader_shuffles_like_the_first(kind: str, grey: ShardFolder) -> None:
    first = loader(grey, kind, shuffle=True)
    list(first)
    state = first.state_dict()
    expected = [together(list(first))[1] for _ in range(2)]
    second = loader(grey, kind, shuffle=True)
    second.load_state_dict(state)
    assert all(torch.equal(together(list(second))[1], epoch) for epoch in expected)


def place(rank: int, world: int) -> Place:
    return Place(rank=rank, world=world, local_rank=rank, local_world=world)


@pytest.mark.parametrize("world", [2, 3, 9])
@pytest.mark.parametrize("kind", LOADERS)
def test_processes_share_each_batch(kind: str, world: int, grey: ShardFolder) -> None:
    """Batches of 8, 8, 8 and 2. Each of three processes gets all of the last batch, each of nine all of every batch."""
    single = loader(grey, kind, shuffle=True)
    shares = [loader(grey, kind, shuffle=True, place=place(rank, world)) for rank in range(world)]
    for _ in range(2):
        rows = 0
        for whole, *parts in zip(single, *shares, strict=True):
            assert {part.rows.total for part in parts} == {len(whole)}
            if len(whole) >= world:
                assert sum(map(len, parts)) == len(whole)
            for part in parts:
                for name in ("images", "logits", "targets"):
                    assert torch.equal(getattr(part, name), part.rows.take(getattr(whole, name)))
            rows += len({row for part in parts for row in part.rows.take(range(len(whole)))})
        assert rows == 26


@pytest.mark.parametrize("kind", LOADERS)
def test_another_number_of_processes_continues_from_a_checkpoint(kind: str, grey: ShardFolder) -> None:
    single = loader(grey, kind, shuffle=True)
    list(single)
    state = single.state_dict()
    expected = [together(list(single))[0] for _ in range(2)]
    share = loader(grey, kind, shuffle=True, place=place(1, 2))
    share.load_state_dict(state)
    assert torch.equal(together(list(share))[0], torch.cat([x[1::2] for x in expected[0].split(8)]))
    last = loader(grey, kind, shuffle=True)
    last.load_state_dict(share.state_dict())
    assert torch.equal(together(list(last))[0], expected[1])


@pytest.mark.skipif(not dali_is_installed(), reason="DALI is not installed")
def test_dali_decodes_only_the_rows_of_its_process(grey: ShardFolder) -> None:
    share = loader(grey, "dali", place=place(1, 2))
    assert isinstance(share, DaliLoader)
    decoded = torch.cat([outputs[0]["image"] for outputs in share.iterator])
    assert (decoded[0::2] == 0).all()
    assert (decoded[1::2] != 0).any((1, 2, 3)).all()


@pytest.mark.parametrize("kind", LOADERS)
def test_folders_of_any_name(kind: str, grey: ShardFolder, tmp_path: Path) -> None:
    plain = together(list(loader(grey, kind)))
    for name in ODD_NAMES:
        moved = ShardFolder.open(shutil.copytree(grey.path, tmp_path / name / "shards"))
        found = together(list(loader(moved, kind)))
        assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True)), name

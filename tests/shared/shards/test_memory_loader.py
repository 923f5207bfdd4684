"""Sets in memory: the samples and the order of the streaming loader, from either of them."""

from __future__ import annotations

import random

import pytest
import torch

from dreamdistill.shared.core.launch import Place
from dreamdistill.shared.shards import memory_loader
from dreamdistill.shared.shards.batches import Batch, Loader
from dreamdistill.shared.shards.dali_loader import DaliLoader
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.loaders import ALONE, dali_is_installed, make_loader
from dreamdistill.shared.shards.memory_loader import MemoryLoader, fits_in_memory, streaming_shuffle

CPU = torch.device("cpu")
LOADERS = [
    "webdataset",
    pytest.param("dali", marks=pytest.mark.skipif(not dali_is_installed(), reason="DALI is not installed")),
]


def loader(folder: ShardFolder, kind: str, *, in_memory: bool | None, place: Place = ALONE) -> Loader:
    return make_loader(folder, kind, batch_size=8, shuffle=True, seed=3, device=CPU, place=place, in_memory=in_memory)


def assert_same(one: Batch, other: Batch) -> None:
    assert one.rows == other.rows
    for name in ("images", "logits", "targets"):
        first, second = getattr(one, name), getattr(other, name)
        assert first.dtype == second.dtype
        assert torch.equal(first, second), name


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("place", [ALONE, Place(rank=1, world=3)])
def test_samples_and_their_order_are_those_of_the_streaming_loader(kind: str, place: Place, grey: ShardFolder) -> None:
    streaming = loader(grey, "webdataset", in_memory=False, place=place)
    memory = loader(grey, kind, in_memory=True, place=place)
    assert isinstance(memory, MemoryLoader)
    assert isinstance(memory.source, DaliLoader) == (kind == "dali")
    assert len(memory) == len(streaming) == 4
    for _ in range(3):
        for one, other in zip(memory, streaming, strict=True):
            assert_same(one, other)


def test_a_checkpoint_of_either_continues_the_other(grey: ShardFolder) -> None:
    memory, streaming = (loader(grey, "webdataset", in_memory=kept) for kept in (True, False))
    list(memory)
    streaming.load_state_dict(memory.state_dict())
    for one, other in zip(memory, streaming, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(("count", "size"), [(1, 4), (5, 4), (30, 4), (4, 30), (100, 1)])
def test_the_shuffle_is_webdatasets(count: int, size: int) -> None:
    from webdataset.filters import shuffle

    filters = shuffle(size, initial=size, rng=random.Random(7))
    expected = list(filters(iter(range(count))))
    assert list(streaming_shuffle(range(count), size, random.Random(7))) == expected
    assert sorted(expected) == list(range(count))


def test_a_set_is_decoded_once_if_it_fits(grey: ShardFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fits_in_memory(grey, CPU)
    assert isinstance(loader(grey, "webdataset", in_memory=None), MemoryLoader)
    sample = 1 * 8 * 8 + 4 * 10 + 8
    monkeypatch.setattr(memory_loader, "CPU_LIMIT", 26 * sample - 1)
    assert not fits_in_memory(grey, CPU)
    assert not isinstance(loader(grey, "webdataset", in_memory=None), MemoryLoader)

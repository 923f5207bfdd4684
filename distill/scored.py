"""The images of a shard folder that parts of a network are valued on, or fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor

from ..shared.models.preprocessing import Preprocessing
from ..shared.shards.batches import Loader


def scored_batches(
    loader: Loader, preprocessing: Preprocessing, *, images: int, batch_size: int
) -> Callable[[], Iterable[tuple[Tensor, Tensor]]]:
    """Gives, at each call, the same minibatches: network input (N, C, H, W) and targets (N,).

    Args:
        loader: of batches of this size.
        images: that they have together, rounded up to whole batches; fewer if there are fewer.
    """
    scored = list(islice(loader, -(-images // batch_size)))  # bytes: small

    def normalized() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in scored:
            yield preprocessing.normalize(batch.images), batch.targets

    return normalized


def first_images(batches: Callable[[], Iterable[tuple[Tensor, Tensor]]], count: int = 128) -> Tensor:
    """The first images of :func:`scored_batches`, (N, C, H, W) with at most so many."""
    found: list[Tensor] = []
    for x_NCHW, _ in batches():
        found.append(x_NCHW[: count - sum(map(len, found))])
        if sum(map(len, found)) == count:
            break
    return torch.cat(found)

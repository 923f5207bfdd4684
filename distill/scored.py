"""The images of a shard folder that parts of a network are valued on, or fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

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

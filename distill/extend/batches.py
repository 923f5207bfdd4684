"""Batches of synthetic images of the old classes and real images of the new ones, in a chosen share."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Any

import torch
from torch import Tensor

from ...shared.core.launch import Rows
from ...shared.shards.batches import Batch, Loader
from .new_images import NewImages


def batch_shares(batch_size: int, share: float) -> tuple[int, int]:
    """How many images of a batch are synthetic, and how many are new: one at least of each that there is a share of."""
    new = min(batch_size - (share < 1), max(1, round(batch_size * share)))
    return batch_size - new, new


@dataclass(frozen=True, slots=True)
class MixedBatch(Batch):
    """A batch whose first images are synthetic.

    Attributes:
        synthetic: how many of them.
    """

    synthetic: int


class MixedLoader:
    """Gives batches whose first images are synthetic and whose others are new. A :class:`Loader` of one process.

    An epoch is as many passes over the synthetic images as are needed for one pass over the new ones; the new images
    go round, in another order each time. Targets count all classes, the old ones first: synthetic images have the class
    that the teacher answered for them. The logits of new images are 0: nothing is stored of them.

    Args:
        synthetic: batches of so many images as :func:`batch_shares` says. None for batches of new images alone.
        old: number of classes that the teacher knows.
        batch_size: images of a batch; the last one of a pass over the synthetic images may have fewer.
        share: of a batch that is new, above 0 and up to 1.
        seed: of the orders of the new images.
        device: where the batches go.
    """

    def __init__(
        self,
        synthetic: Loader | None,
        new: NewImages,
        *,
        old: int,
        batch_size: int,
        share: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self.synthetic = synthetic
        self.new = new
        self.old = old
        self.synthetic_size, self.new_size = batch_shares(batch_size, share)
        self.seed = seed
        self.device = device
        self.epoch = 0  # number of finished epochs, which selects the next orders

    @property
    def passes(self) -> int:
        """Passes over the synthetic images in an epoch; 0 without any."""
        return 0 if self.synthetic is None else -(-self._new_batches // len(self.synthetic))

    @property
    def _new_batches(self) -> int:
        """Batches that one pass over the new images takes."""
        return -(-len(self.new) // self.new_size)

    def __len__(self) -> int:
        return self._new_batches if self.synthetic is None else self.passes * len(self.synthetic)

    def __iter__(self) -> Iterator[MixedBatch]:
        order = self._order()
        if self.synthetic is None:
            for _ in range(len(self)):
                yield self._batch(None, order)
        else:
            for batch in chain.from_iterable(self.synthetic for _ in range(self.passes)):
                yield self._batch(batch, order)
        self.epoch += 1

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "synthetic": self.synthetic.state_dict() if self.synthetic else {}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        if self.synthetic is not None:
            self.synthetic.load_state_dict(state["synthetic"])

    def _order(self) -> Iterator[int]:
        """Places of the new images, without an end: each pass has all of them, in an order of its own."""
        generator = random.Random(f"{self.seed} new {self.epoch}")
        for places in cycle([list(range(len(self.new)))]):
            generator.shuffle(places)
            yield from places

    def _batch(self, synthetic: Batch | None, order: Iterator[int]) -> MixedBatch:
        if synthetic is None:
            images, targets = self._new(self.new_size, order)
            logits = torch.zeros(len(targets), self.old, device=self.device)
            return MixedBatch(images, logits, targets, Rows(len(targets)), 0)
        # In a last batch of fewer synthetic images there are fewer new ones too.
        count = max(1, round(self.new_size * len(synthetic) / self.synthetic_size))
        images, targets = self._new(count, order)
        total = len(synthetic) + count
        return MixedBatch(
            torch.cat([synthetic.images, images]),
            torch.cat([synthetic.logits, synthetic.logits.new_zeros(count, self.old)]),
            torch.cat([synthetic.logits.argmax(1), targets]),
            Rows(total),
            len(synthetic),
        )

    def _new(self, count: int, order: Iterator[int]) -> tuple[Tensor, Tensor]:
        places = torch.tensor(list(islice(order, count)))
        images, labels = self.new.pixels_NCHW[places], self.new.labels_N[places]
        return images.to(self.device), (self.old + labels).to(self.device)

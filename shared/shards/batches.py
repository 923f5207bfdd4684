"""A batch of samples, and the interface of a loader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..core.launch import Rows

SHUFFLE_BUFFER = 4096  # encoded samples in the buffer of the streaming shuffle; several shards of the usual size


@dataclass(frozen=True, slots=True)
class Batch:
    """This process's rows of a batch.

    Attributes:
        images: uint8 (N, C, H, W), as decoded.
        logits: float32 (N, K), as stored.
        targets: int64 (N,).
        rows: which rows of the whole batch these are.
    """

    images: Tensor
    logits: Tensor
    targets: Tensor
    rows: Rows

    def __len__(self) -> int:
        return len(self.targets)


class Loader(Protocol):
    """Each iteration is one epoch: all batches, this process's rows of each. The last batch may be smaller."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int:
        """Number of batches per epoch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state that lets :meth:`load_state_dict` shuffle the next epochs as this loader would, in any process."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

"""A batch of samples, and what a loader of batches does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..core.launch import Rows

SHUFFLE_BUFFER = 4096  # encoded samples held back by the streaming shuffle; several shards of a usual size


@dataclass(frozen=True, slots=True)
class Batch:
    """images: uint8 (N, C, H, W); logits: float32 (N, K), the stored ones; targets: int64 (N,); rows: which."""

    images: Tensor
    logits: Tensor
    targets: Tensor
    rows: Rows

    def __len__(self) -> int:
        return len(self.targets)


class Loader(Protocol):
    """One pass over all batches each time it is iterated; the last may be smaller. Of each, this process's rows."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int:
        """Batches an epoch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` needs to shuffle the next epochs as this loader would have, at any place."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

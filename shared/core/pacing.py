"""Work beside the work, such as checkpoints: at most a share of the time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Allowance:
    """Says when something may be done that is to take at most a share of the time.

    Args:
        share: of the time, above 0.
        seconds: that it will take the first time; 0 allows it at once.
    """

    def __init__(self, share: float, *, seconds: float = 0.0) -> None:
        self._share = share
        self._next = time.monotonic() + seconds / share

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._next

    @contextlib.contextmanager
    def spend(self) -> Iterator[None]:
        """Do it: the longer it takes, the later is the next time."""
        started = time.monotonic()
        yield
        now = time.monotonic()
        self._next = now + (now - started) / self._share

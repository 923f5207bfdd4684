"""The progress of a whole run, added up from the progress of its shards."""

from __future__ import annotations

from collections.abc import Iterable

from ..shared.shards.manifest import ShardPlan


class RunProgress:
    """Counts the images that are done, of all shards together, from absolute fractions of each.

    Attributes:
        total: images of all shards.
        done: images done now, in fractions too. It goes down when a shard has to start again.
    """

    def __init__(self, plans: Iterable[ShardPlan]) -> None:
        self._counts = {plan.number: plan.count for plan in plans}
        self._fractions: dict[int, float] = {}
        self.total = sum(self._counts.values())
        self.done = 0.0

    def update(self, number: int, fraction: float) -> float:
        """Set the fraction of a shard that is done, 0 to 1, and return the images done of all shards."""
        self.done += (fraction - self._fractions.get(number, 0.0)) * self._counts[number]
        self._fractions[number] = fraction
        return self.done

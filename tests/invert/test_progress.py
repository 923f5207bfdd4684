"""The progress of a run, from absolute fractions of its shards."""

from __future__ import annotations

import pytest

from dreamdistill.invert.progress import RunProgress
from dreamdistill.shared.shards.manifest import ShardPlan


@pytest.fixture
def progress() -> RunProgress:
    """The progress of two shards; the second is smaller."""
    of_round = {"round": "0" * 64, "format": "png"}
    first = ShardPlan(number=7, first_image=0, count=8, **of_round)
    return RunProgress([first, ShardPlan(number=8, first_image=8, count=4, **of_round)])


def test_fractions_are_counted_in_images(progress: RunProgress) -> None:
    assert progress.total == 12
    assert [progress.update(7, 0.25), progress.update(8, 0.5), progress.update(7, 0.75)] == [2, 4, 8]


def test_the_same_fraction_again_changes_nothing(progress: RunProgress) -> None:
    for _ in range(2):
        assert progress.update(8, 1.0) == 4


def test_a_shard_that_starts_again_goes_back_to_zero(progress: RunProgress) -> None:
    progress.update(7, 0.5)
    progress.update(8, 1.0)
    assert progress.update(7, 0.0) == 4
    assert progress.update(7, 1.0) == progress.done == progress.total

"""The verdict on the agreement of images, and the reason that it names."""

from __future__ import annotations

from typing import Any

import pytest

from dreamdistill.shared.shards.records import CommitRecord
from dreamdistill.shared.shards.verdict import verdict

DIGEST = "0" * 64


def record(count: int = 10, **values: Any) -> CommitRecord:
    files: dict[str, Any] = {"round": DIGEST, "bytes": 1, "sha256": DIGEST, "index_sha256": DIGEST}
    found = {"losses": {"class": 0.1}, "agreement": 1.0, "class_loss": 0.1, "clipped": 0.0} | values
    return CommitRecord(number=0, count=count, **files, seed=0, seconds=1.0, worker="w", **found)


@pytest.mark.parametrize(
    ("values", "start", "word"),
    [
        ({"agreement": 0.97}, "high", "nearly every image"),
        ({"agreement": 0.9}, "rather low", "more --steps"),
        ({"agreement": 0.3, "losses": {"class": 2.0}, "class_loss": 2.2}, "low", "still 2 at the end"),
        ({"agreement": 0.5, "class_loss": 1.5, "clipped": 0.4}, "low", "40% of the pixel values"),
        ({"agreement": 0.5, "class_loss": 1.5, "clipped": 0.01}, "low", "differ from what was optimised"),
        ({"agreement": 0.1, "losses": {}, "class_loss": 9.0}, "not to be judged", "show a class"),
    ],
)
def test_the_verdict_names_the_reason(values: dict[str, Any], start: str, word: str) -> None:
    found = verdict([record(**values)])
    assert found.startswith(start)
    assert word in found


def test_shards_count_by_their_images() -> None:
    shards = [record(1, agreement=0.0, class_loss=5.0), record(99)]
    assert verdict(shards).startswith("high")
    assert verdict([record(99, agreement=0.0, class_loss=5.0), record(1)]).startswith("low")

"""The file of a shard folder's score (``score.json``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.records import read_record_file, write_record_file
from .folder import ShardFolder
from .manifest import SCHEMA
from .measures import Measures
from .writer import SCORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score of a shard folder.

    Attributes:
        identity: sha256 of the folder's content when it was measured.
        verifier: sha256 of the verifier's weights; None without a verifier.
        real_name: name of the real images, as for ``--eval``; None without real images.
        features: whose features give diversity and Fréchet distance: ``verifier`` if there is one, else ``teacher``.
        synthetic: measures of the folder's images.
        real: the same measures of the real images; None without real images.
        frechet: squared Fréchet distance between the features of synthetic and real images, 0 or more; None without
            real images. It falls as the number of images grows, so compare only sets of the same size.
    """

    identity: str
    verifier: str | None
    real_name: str | None
    features: str
    synthetic: Measures
    real: Measures | None
    frechet: float | None

    def flat(self) -> dict[str, Any]:
        """One flat table: the measures of the synthetic images, and those of the real images as ``real_NAME``."""
        real = {f"real_{name}": value for name, value in asdict(self.real).items()} if self.real else {}
        return {**asdict(self.synthetic), "frechet": self.frechet, "features": self.features, **real}


def write_score(folder: Path, score: Score) -> None:
    write_record_file(folder / SCORE, score, schema=SCHEMA)


def read_score_file(folder: Path) -> Score | None:
    """The score in ``score.json``; None if there is none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or of another version.
    """
    try:
        return read_record_file(folder / SCORE, Score, schema=SCHEMA)
    except FileNotFoundError:
        return None


def read_score(shards: ShardFolder) -> Score | None:
    """The score of a folder; None if there is none, if the content has changed since, or if it is damaged."""
    try:
        score = read_score_file(shards.path)
    except (OSError, ValueError):
        return None  # it is measured again
    return score if score is not None and score.identity == shards.identity else None

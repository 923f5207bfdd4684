"""Records of single shards: which are whole (``NNNNNN.json``), and which were given up (``NNNNNN.failed``).

A commit record is written last, so a shard without one is not there. How far a run is, on any number of machines, can
be read from these records alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.errors import DreamError
from ..core.files import write_text
from ..core.records import from_json
from .manifest import ShardPlan

COMMIT, FAILED = "json", "failed"
PARTS = ("tar", "idx", COMMIT)  # of a whole shard


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRecord:
    """The commit record of a shard (``NNNNNN.json``).

    Attributes:
        count, bytes, sha256: number of samples, and size and digest of the tar.
        seed: the seed of the attempt that succeeded.
        seconds: wall time that the shard took.
        worker: host and process that made it.
        losses: final value of each loss term, mean over the shard's batches.
        agreement: share of images that the teacher assigns to their target.
    """

    count: int
    bytes: int
    sha256: str
    seed: int
    seconds: float
    worker: str
    losses: dict[str, float]
    agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFailure:
    """Why a shard was given up (``NNNNNN.failed``), and by which process; deleted when the shard is made."""

    reason: str
    worker: str


def shard_path(folder: Path, number: int, suffix: str) -> Path:
    return folder / f"{number:06d}.{suffix}"


def is_complete(folder: Path, number: int) -> bool:
    """Whether a shard has its commit record, and the files that the record is about."""
    return all(shard_path(folder, number, suffix).is_file() for suffix in PARTS)


def complete_shards(folder: Path) -> set[int]:
    """Numbers of the shards that are whole (:func:`is_complete`), by a single listing of the folder."""
    found: dict[str, set[int]] = {suffix: set() for suffix in PARTS}
    with os.scandir(folder) as entries:
        for entry in entries:
            if match := re.fullmatch(r"(\d{6,})\.(\w+)", entry.name):
                found.get(match[2], set()).add(int(match[1]))
    return set.intersection(*found.values())


def read_record(folder: Path, number: int) -> CommitRecord | None:
    """The commit record of a shard, or None if the shard is not there.

    Raises:
        DreamError: it is damaged.
    """
    path = shard_path(folder, number, COMMIT)
    try:
        return from_json(CommitRecord, json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DreamError(f"{path} is damaged; delete it and run di-invert again to make that shard again") from error


def read_records(folder: Path, plans: Iterable[ShardPlan]) -> dict[int, CommitRecord]:
    """Number -> commit record of the shards that are there, in the order of ``plans``."""
    return {p.number: record for p in plans if (record := read_record(folder, p.number)) is not None}


def write_record(folder: Path, number: int, record: CommitRecord) -> None:
    """Write the commit record, which makes the shard whole."""
    write_text(shard_path(folder, number, COMMIT), json.dumps(asdict(record), indent=1) + "\n")
    shard_path(folder, number, FAILED).unlink(missing_ok=True)


def write_failure(folder: Path, number: int, failure: ShardFailure) -> None:
    write_text(shard_path(folder, number, FAILED), json.dumps(asdict(failure)) + "\n")


def clear_failures(folder: Path, plans: Iterable[ShardPlan]) -> None:
    """Forget that these shards were given up."""
    for number in read_failures(folder, plans):
        shard_path(folder, number, FAILED).unlink(missing_ok=True)


def read_failures(folder: Path, plans: Iterable[ShardPlan]) -> dict[int, ShardFailure]:
    """Number -> why the shard was given up, for the shards that are still missing."""
    failed = {int(path.stem): path for path in folder.glob(f"*.{FAILED}") if path.stem.isdigit()}
    found: dict[int, ShardFailure] = {}
    for number in (plan.number for plan in plans):
        if number in failed and not shard_path(folder, number, COMMIT).is_file():
            try:
                found[number] = from_json(ShardFailure, json.loads(failed[number].read_text()))
            except FileNotFoundError:  # it was made meanwhile
                continue
            except ValueError as error:
                raise DreamError(f"{failed[number]} is damaged; delete it") from error
    return found

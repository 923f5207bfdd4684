"""Records of single shards: which are whole (``NNNNNN.json``), and which were given up (``NNNNNN.failed``).

A commit record is written last, so a shard without one is not there. How far a run is, on any number of machines, can
be read from these records alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import DreamError, one_line
from ..core.files import atomic_write, remove_file
from ..core.records import check_range, check_sha256, read_record_file, record_bytes
from .manifest import MAX_IMAGES, SCHEMA, ShardPlan

COMMIT, FAILED = "json", "failed"
_NAME = re.compile(r"([0-9]{6}|[1-9][0-9]{6,8})\.([a-z]+)")
PARTS = ("tar", "idx", COMMIT)  # of a whole shard


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRecord:
    """The commit record of a shard (``NNNNNN.json``).

    Attributes:
        number: of the shard.
        round: fingerprint of its round.
        count: number of samples.
        bytes, sha256: size and digest of the tar.
        index_sha256: digest of the index.
        seed: the seed of the attempt that succeeded.
        seconds: wall time that the shard took.
        worker: host and process that made it.
        losses: final value of each loss term, mean over the shard's batches.
        agreement: share of images that the teacher assigns to their target.
        class_loss: cross-entropy of the stored logits to the targets, in nats, mean over the images.
        clipped: share of pixel values, 0 to 1, that storing clipped by more than half a level.
    """

    number: int
    round: str
    count: int
    bytes: int
    sha256: str
    index_sha256: str
    seed: int
    seconds: float
    worker: str
    losses: dict[str, float]
    agreement: float
    class_loss: float
    clipped: float

    def __post_init__(self) -> None:
        check_range("count", self.count, 1, MAX_IMAGES)
        check_range("bytes", self.bytes, 1, 2**62)
        check_range("seconds", self.seconds, 0, 1e12)
        check_range("agreement", self.agreement, 0, 1)
        check_range("class_loss", self.class_loss, 0, 1e6)
        check_range("clipped", self.clipped, 0, 1)
        for name in ("round", "sha256", "index_sha256"):
            check_sha256(name, getattr(self, name))


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
    found = listed(folder)
    return set.intersection(*(set(found[suffix]) for suffix in PARTS))


def listed(folder: Path) -> dict[str, dict[int, int]]:
    """Suffix of a shard's files -> number -> inode of that file, by a single listing of the folder."""
    found: dict[str, dict[int, int]] = {suffix: {} for suffix in (*PARTS, FAILED)}
    with os.scandir(folder) as entries:
        for entry in entries:
            if (match := _NAME.fullmatch(entry.name)) and match[2] in found:
                found[match[2]][int(match[1])] = entry.inode()
    return found


def read_record(folder: Path, plan: ShardPlan) -> CommitRecord | None:
    """The commit record of a shard, or None if the shard is not there.

    Raises:
        DreamError: it is damaged, or is the record of another shard.
    """
    path = shard_path(folder, plan.number, COMMIT)
    again = "delete it and run di-invert again to make that shard again"
    try:
        record = read_record_file(path, CommitRecord, schema=SCHEMA)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DreamError(f"{path} is damaged ({one_line(error)}); {again}") from error
    if (record.number, record.round, record.count) != (plan.number, plan.round, plan.count):
        raise DreamError(f"{path} is the record of another shard; {again}")
    return record


def read_records(folder: Path, plans: Iterable[ShardPlan]) -> dict[int, CommitRecord]:
    """Number -> commit record of the shards that are there, in the order of ``plans``."""
    there = listed(folder)[COMMIT]
    found = ((plan.number, read_record(folder, plan)) for plan in plans if plan.number in there)
    return {number: record for number, record in found if record is not None}


def mean_of(records: Collection[CommitRecord], name: Literal["agreement", "class_loss", "clipped"]) -> float:
    """The mean over all images of a value that each commit record has for its own."""
    return sum(getattr(record, name) * record.count for record in records) / sum(record.count for record in records)


def write_record(folder: Path, record: CommitRecord) -> None:
    """Write the commit record, which makes the shard whole."""
    _write(shard_path(folder, record.number, COMMIT), record)
    remove_file(shard_path(folder, record.number, FAILED))


def write_failure(folder: Path, number: int, failure: ShardFailure) -> None:
    _write(shard_path(folder, number, FAILED), failure)


def clear_failures(folder: Path, plans: Iterable[ShardPlan]) -> None:
    """Forget that these shards were given up, also where the reason cannot be read."""
    wanted = {plan.number for plan in plans}
    for number in wanted & listed(folder)[FAILED].keys():
        remove_file(shard_path(folder, number, FAILED))


def read_failures(folder: Path, plans: Iterable[ShardPlan]) -> dict[int, ShardFailure]:
    """Number -> why the shard was given up, for the shards that are still missing."""
    failed = listed(folder)[FAILED]
    found: dict[int, ShardFailure] = {}
    for number in (plan.number for plan in plans):
        if number in failed and not shard_path(folder, number, COMMIT).is_file():
            try:
                found[number] = read_record_file(shard_path(folder, number, FAILED), ShardFailure, schema=SCHEMA)
            except FileNotFoundError:  # it was made meanwhile
                continue
            except ValueError as error:
                path = shard_path(folder, number, FAILED)
                raise DreamError(f"{path} is damaged ({one_line(error)}); delete it") from error
    return found


def _write(path: Path, record: CommitRecord | ShardFailure) -> None:
    with atomic_write(path) as file:  # the folder is not listed: a cluster makes many shards in it at once
        file.write(record_bytes(record, schema=SCHEMA))

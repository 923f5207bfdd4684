"""Which shards were read and checked before, so that a training checks a folder once and not each time.

A shard counts as checked as long as its files have the size, the times and the inode that they had then. Bytes that a
disk changes by itself change none of these: ``di-shards verify`` reads everything again.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..core.config import fingerprint
from ..core.records import read_record_file, write_record_file
from ..core.user_state import state_folder
from .folder import ShardFolder
from .manifest import ShardPlan
from .records import shard_path

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """The file of one folder.

    Attributes:
        folder: its absolute path.
        stamps: shard number -> what its files looked like when they were checked.
    """

    folder: str
    stamps: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The checked shards of a folder.

    Attributes:
        now: shard number -> what its files look like now.
        before: the same, when they were checked.
    """

    shards: ShardFolder
    now: dict[str, str]
    before: dict[str, str]

    @classmethod
    def load(cls, shards: ShardFolder) -> Verified:
        """What is known of a folder. Take it before the files are read: they may change meanwhile."""
        before: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError):
            state = read_record_file(_state_path(shards.path), _State, schema=SCHEMA)
            before = state.stamps if state.folder == str(shards.path.resolve()) else before
        # What else the checks depend on: the shape of images and logits.
        teacher = shards.manifest.teacher
        shape = [teacher.num_classes, teacher.channels, teacher.image_size]
        return cls(shards=shards, now={str(p.number): _stamp(shards, p, shape) for p in shards.plans()}, before=before)

    def missing(self) -> list[ShardPlan]:
        """The shards that are to be checked."""
        return [p for p in self.shards.plans() if self.before.get(str(p.number)) != self.now[str(p.number)]]

    def save(self) -> None:
        """Remember that all are checked."""
        path = _state_path(self.shards.path)
        state = _State(folder=str(self.shards.path.resolve()), stamps=self.before | self.now)
        with contextlib.suppress(OSError):  # then they are checked again the next time
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_record_file(path, state, schema=SCHEMA)


def _state_path(folder: Path) -> Path:
    return state_folder("verified") / f"{fingerprint(str(folder.resolve()))[:32]}.json"


def _stamp(shards: ShardFolder, plan: ShardPlan, shape: list[int]) -> str:
    files = [os.stat(shard_path(shards.path, plan.number, suffix)) for suffix in ("tar", "idx")]
    # Not even the owner of a file can set its ctime.
    seen = [[file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns] for file in files]
    return fingerprint([asdict(shards.records[plan.number]), asdict(plan), shape, seen])[:32]

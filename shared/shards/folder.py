"""The shard folder on disk, opened for reading.

manifest.json   see :mod:`.manifest`
000000.tar      of each sample 00000000.png|jpg, .logits.npy (float16, K), .target.npy (int64), .cls (text)
000000.idx      DALI's index (v1.2): where each member lies in the tar
000000.json     the commit mark, written last: a shard without one is not there
_info.json      what timm reads
score.json      how good the images are, if somebody asked (see :mod:`.quality`)
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.config import fingerprint
from ..core.errors import ConfigError, DreamError
from .manifest import Manifest, load_manifest
from .records import CommitRecord, read_records, shard_path
from .writer import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFolder:
    """A folder with at least one whole shard, its tars checked for presence and size against the commit marks."""

    path: Path
    manifest: Manifest
    records: dict[int, CommitRecord]

    @classmethod
    def open(cls, path: Path, *, rounds: int | None = None) -> ShardFolder:
        """Open for reading.

        Args:
            rounds: read the first so many alone; None reads all.

        Raises:
            ConfigError: the folder is missing, is no shard folder, or has no whole shard or not so many rounds yet.
            DreamError: a tar is missing or has another size than when it was written.
        """
        manifest = load_manifest(path)
        if rounds is not None:
            if rounds > len(manifest.rounds):
                raise ConfigError(f"--rounds {rounds}: {path} has {len(manifest.rounds)}")
            manifest = replace(manifest, rounds=manifest.rounds[:rounds])
        records = read_records(path, manifest.shards())
        if not records:
            raise ConfigError(f"{path} has no finished shard yet: run di-invert again to go on")
        for number, record in records.items():
            if problem := size_problem(path, number, record):
                raise DreamError(
                    f"{problem}; delete {shard_path(path, number, 'json')} and run di-invert again to make it anew"
                )
        return cls(path=path, manifest=manifest, records=records)

    @property
    def num_samples(self) -> int:
        return sum(record.count for record in self.records.values())

    def num_batches(self, size: int) -> int:
        """Of so many samples each; the last may be smaller."""
        return -(-self.num_samples // size)

    @property
    def identity(self) -> str:
        """sha256 of what is in the folder: the teacher, the rounds, and which of their shards are whole."""
        rounds = [item.fingerprint for item in self.manifest.rounds]
        return fingerprint([self.manifest.teacher["sha256"], rounds, list(self.records)])

    @property
    def num_planned(self) -> int:
        return sum(plan.count for plan in self.manifest.shards())

    def files(self, suffix: str) -> list[str]:
        """Paths of the whole shards' ``tar`` or ``idx`` files, in order."""
        return [str(shard_path(self.path, number, suffix)) for number in self.records]

    def samples(self, number: int) -> Iterator[Sample]:
        """The samples of one shard, in order, as stored."""
        with tarfile.open(shard_path(self.path, number, "tar")) as tar:
            members = iter(tar)
            for image, logits, target, _text in zip(members, members, members, members, strict=True):
                yield Sample(
                    image=_read(tar, image),
                    logits=np.load(io.BytesIO(_read(tar, logits))),
                    target=int(np.load(io.BytesIO(_read(tar, target)))),
                )


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def size_problem(folder: Path, number: int, record: CommitRecord) -> str | None:
    tar = shard_path(folder, number, "tar")
    if not tar.is_file():
        return f"{tar} is missing"
    if tar.stat().st_size != record.bytes:
        return f"{tar} is {tar.stat().st_size} bytes long and was {record.bytes} when it was written"
    return None

"""The shard folder on disk: writing one shard whole, opening a folder, checking it.

    manifest.json   see :mod:`.manifest`
    000000.tar      of each sample 00000000.png|jpg, .logits.npy (float16, K), .target.npy (int64), .cls (text)
    000000.idx      DALI's index (v1.2): where each member lies in the tar
    000000.json     the commit mark, written last: a shard without one is not there
    _info.json      what timm reads
    score.json      how good the images are, if somebody asked (see :mod:`.score`)

The tar is written with the standard library: webdataset's TarWriter sorts a sample's members by name, and does not
tell their offsets, which the index needs.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .config import fingerprint
from .errors import ConfigError, DreamError
from .manifest import MANIFEST, Manifest, ShardPlan, load_manifest
from .marks import ShardRecord, read_record, read_records, shard_path, whole_shards, write_record
from .runtime import atomic_write, write_text

INFO = "_info.json"
SCORE = "score.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image as it is stored.

    Attributes:
        image: the encoded file.
        logits: the teacher's, for the image as decoded from ``image``; float16, shape (K,).
        target: the class that the image was made for.
    """

    image: bytes
    logits: np.ndarray
    target: int


def write_shard(
    folder: Path,
    plan: ShardPlan,
    samples: Iterable[Sample],
    *,
    format: str,
    commit: Callable[[int, int, str], ShardRecord],
) -> ShardRecord:
    """Write tar, index and commit mark, in this order, each whole or not at all.

    Args:
        samples: exactly ``plan.count`` of them.
        format: member suffix of the images, ``png`` or ``jpg``.
        commit: makes the record from the tar's count, size and sha256.
    """
    lines: list[str] = []
    count = 0
    tar_path = shard_path(folder, plan.number, "tar")
    with atomic_write(tar_path) as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for count, sample in enumerate(samples, start=1):
                key = f"{plan.first_image + count - 1:08d}"
                line = []
                for suffix, data in _members(sample, format):
                    offset = _add_member(tar, f"{key}.{suffix}", data)
                    line.append(f"{suffix} {offset} {len(data)} {key}.{suffix}")
                lines.append(" ".join(line))
        size = file.tell()
    assert count == plan.count, f"shard {plan.number} got {count} samples, not {plan.count}"
    write_text(shard_path(folder, plan.number, "idx"), "\n".join([f"v1.2 {count}", *lines]) + "\n")
    record = commit(count, size, _sha256(tar_path))
    write_record(folder, plan.number, record)
    return record


def write_info(folder: Path, manifest: Manifest) -> None:
    """Write ``_info.json`` for the shards that are there: timm's ``--dataset wds/...`` reads it."""
    whole = whole_shards(folder)
    there = [plan for plan in manifest.shards() if plan.number in whole]
    split = {
        "name": "train",
        "num_samples": sum(plan.count for plan in there),
        "filenames": [shard_path(folder, plan.number, "tar").name for plan in there],
        "shard_lengths": [plan.count for plan in there],
    }
    write_text(folder / INFO, json.dumps({"splits": {"train": split}}, indent=1) + "\n")


def clear_folder(folder: Path) -> None:
    """Delete a shard folder's own files and nothing else; commit marks first, so a half-cleared folder is no data."""
    number = "[0-9]" * 6
    for pattern in (f"{number}.json", MANIFEST, INFO, SCORE, f"{number}.tar", f"{number}.idx", f"{number}.failed"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFolder:
    """A folder with at least one whole shard, its tars checked for presence and size against the commit marks."""

    path: Path
    manifest: Manifest
    records: dict[int, ShardRecord]

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
            if problem := _size_problem(path, number, record):
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


def verify(path: Path) -> list[str]:
    """Check every shard against its commit mark: presence, size, sha256, index. Returns one sentence a problem.

    Raises:
        ConfigError, DreamError: there is no readable manifest.
    """
    manifest = load_manifest(path)
    problems: list[str] = []
    for plan in manifest.shards():
        record = read_record(path, plan.number)
        tar = shard_path(path, plan.number, "tar")
        if record is None:
            problems.append(f"shard {plan.number:06d} has not been made")
        elif problem := _size_problem(path, plan.number, record):
            problems.append(problem)
        elif _sha256(tar) != record.sha256:
            problems.append(f"{tar} does not have the sha256 it was written with")
        elif problem := _index_problem(path, plan.number, record):
            problems.append(problem)
    return problems


def _members(sample: Sample, format: str) -> Iterator[tuple[str, bytes]]:
    yield format, sample.image
    yield "logits.npy", _npy(sample.logits.astype(np.float16))
    yield "target.npy", _npy(np.int64(sample.target))
    yield "cls", str(sample.target).encode()


def _npy(array: np.ndarray | np.int64) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Append one file, its header free of time and owner, and return the offset of its data."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o444
    tar.addfile(info, io.BytesIO(data))
    return tar.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _size_problem(folder: Path, number: int, record: ShardRecord) -> str | None:
    tar = shard_path(folder, number, "tar")
    if not tar.is_file():
        return f"{tar} is missing"
    if tar.stat().st_size != record.bytes:
        return f"{tar} is {tar.stat().st_size} bytes long and was {record.bytes} when it was written"
    return None


def _index_problem(folder: Path, number: int, record: ShardRecord) -> str | None:
    index = shard_path(folder, number, "idx")
    lines = index.read_text().splitlines() if index.is_file() else []
    if not lines or lines[0] != f"v1.2 {record.count}" or len(lines) != record.count + 1:
        return f"{index} is missing or damaged"
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()

"""Writing one complete shard: the tar, the index and, last, the commit record.

The standard library writes the tar. webdataset's TarWriter sorts the members of a sample by name and does not return
their offsets, which the index needs.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.files import atomic_write, sha256_of_file, write_text
from .manifest import MANIFEST, Manifest, ShardPlan
from .records import CommitRecord, complete_shards, shard_path, write_record

INFO = "_info.json"
SCORE = "score.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample as it is stored.

    Attributes:
        image: the encoded image file.
        logits: the teacher's logits for the image as decoded from ``image``; float16, shape (K,).
        target: the class for which the image was made.
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
    commit: Callable[[int, int, str], CommitRecord],
) -> CommitRecord:
    """Write the tar, the index and the commit record of a shard, in this order, each atomically.

    Args:
        samples: exactly ``plan.count`` samples.
        format: member suffix of the images, ``png`` or ``jpg``.
        commit: makes the commit record from the tar's number of samples, its size in bytes and its sha256.

    Raises:
        OSError: a file cannot be written.
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
    record = commit(count, size, sha256_of_file(tar_path))
    write_record(folder, plan.number, record)
    return record


def write_info(folder: Path, manifest: Manifest) -> None:
    """Write ``_info.json``, which lists the complete shards: timm's ``--dataset wds/...`` reads it."""
    complete = complete_shards(folder)
    plans = [plan for plan in manifest.shards() if plan.number in complete]
    split = {
        "name": "train",
        "num_samples": sum(plan.count for plan in plans),
        "filenames": [shard_path(folder, plan.number, "tar").name for plan in plans],
        "shard_lengths": [plan.count for plan in plans],
    }
    write_text(folder / INFO, json.dumps({"splits": {"train": split}}, indent=1) + "\n")


def clear_folder(folder: Path) -> None:
    """Delete the files of a shard folder, and no others.

    Commit records go first: if the deletion is interrupted, no damaged shard counts as complete.
    """
    number = "[0-9]" * 6
    for pattern in (f"{number}.json", MANIFEST, INFO, SCORE, f"{number}.tar", f"{number}.idx", f"{number}.failed"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


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
    """Append one file, without time and owner in its header, and return the offset of its data."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o444
    tar.addfile(info, io.BytesIO(data))
    return tar.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE

"""Writing one complete shard: the tar, the index and, last, the commit record.

The standard library writes the tar. webdataset's TarWriter sorts the members of a sample by name and does not return
their offsets, which the index needs.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

from ..core.files import atomic_write, remove_file, sha256_of_file, write_text
from ..core.places import MANIFEST
from .contract import Member, Sample, encode_sample, index_line, index_text, member_info, padded, sample_key
from .manifest import Manifest, ShardPlan
from .records import CommitRecord, complete_shards, shard_path, write_record

INFO = "_info.json"
SCORE = "score.json"


def write_shard(
    folder: Path, plan: ShardPlan, samples: Iterable[Sample], *, commit: Callable[..., CommitRecord]
) -> CommitRecord:
    """Write the tar, the index and the commit record of a shard, in this order, each atomically.

    Args:
        samples: exactly ``plan.count`` samples.
        commit: makes the commit record; takes number, round, count, bytes, sha256 and index_sha256 by name.

    Raises:
        OSError: a file cannot be written.
    """
    lines: list[str] = []
    tar_path, index_path = (shard_path(folder, plan.number, suffix) for suffix in ("tar", "idx"))
    with atomic_write(tar_path) as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for position, sample in enumerate(samples):
                key = sample_key(plan, position)
                members = encode_sample(sample, plan.format)
                lines.append(index_line([_add_member(tar, f"{key}.{suffix}", data) for suffix, data in members]))
        size = file.tell()
    assert len(lines) == plan.count, f"shard {plan.number} got {len(lines)} samples, not {plan.count}"
    with atomic_write(index_path) as file:
        file.write(index_text(lines).encode())
    record = commit(
        number=plan.number,
        round=plan.round,
        count=plan.count,
        bytes=size,
        sha256=sha256_of_file(tar_path),
        index_sha256=sha256_of_file(index_path),
    )
    write_record(folder, record)
    return record


def write_info(folder: Path, manifest: Manifest) -> None:
    """Write ``_info.json``, which lists the complete shards: timm's ``--dataset wds/...`` reads it."""
    write_text(folder / INFO, info_text(folder, manifest))


def info_text(folder: Path, manifest: Manifest) -> str:
    """What ``_info.json`` must say."""
    complete = complete_shards(folder)
    plans = [plan for plan in manifest.shards() if plan.number in complete]
    split = {
        "name": "train",
        "num_samples": sum(plan.count for plan in plans),
        "filenames": [shard_path(folder, plan.number, "tar").name for plan in plans],
        "shard_lengths": [plan.count for plan in plans],
    }
    return json.dumps({"splits": {"train": split}}, indent=1) + "\n"


def clear_folder(folder: Path) -> None:
    """Delete the files of a shard folder, and no others.

    Commit records go first: if the deletion is interrupted, no damaged shard counts as complete.
    """
    number = "[0-9]" * 6
    for pattern in (f"{number}.json", MANIFEST, INFO, SCORE, f"{number}.tar", f"{number}.idx", f"{number}.failed"):
        for path in folder.glob(pattern):
            remove_file(path)


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> Member:
    """Append one file."""
    tar.addfile(member_info(name, len(data)), io.BytesIO(data))
    return Member(name, tar.offset - padded(len(data)), len(data))

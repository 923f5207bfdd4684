"""Verification of a shard folder against its commit records."""

from __future__ import annotations

from pathlib import Path

from ..core.files import sha256_of_file
from .folder import size_problem
from .manifest import load_manifest
from .records import CommitRecord, read_record, shard_path


def verify(path: Path) -> list[str]:
    """Check every planned shard against its commit record: presence, size, sha256 and index.

    Returns:
        One sentence for each problem.

    Raises:
        ConfigError: the folder is not a shard folder.
        DreamError: the manifest or a commit record is damaged.
    """
    manifest = load_manifest(path)
    problems: list[str] = []
    for plan in manifest.shards():
        record = read_record(path, plan.number)
        tar = shard_path(path, plan.number, "tar")
        if record is None:
            problems.append(f"shard {plan.number:06d} has not been made")
        elif problem := size_problem(path, plan.number, record):
            problems.append(problem)
        elif sha256_of_file(tar) != record.sha256:
            problems.append(f"{tar} does not have the sha256 that it was written with")
        elif problem := _index_problem(path, plan.number, record):
            problems.append(problem)
    return problems


def _index_problem(folder: Path, number: int, record: CommitRecord) -> str | None:
    index = shard_path(folder, number, "idx")
    lines = index.read_text().splitlines() if index.is_file() else []
    if not lines or lines[0] != f"v1.2 {record.count}" or len(lines) != record.count + 1:
        return f"{index} is missing or damaged"
    return None

"""Verification of a shard folder: every byte of it against its records, and the records against the manifest."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..core.device import cpu_count
from ..core.errors import DreamError
from ..core.files import read_limited
from .contract import TarReader, check_index, index_text
from .folder import ShardFolder, size_problem
from .manifest import Manifest, ShardPlan, load_manifest
from .records import CommitRecord, listed, read_failures, read_record, shard_path
from .score import read_score_file
from .verified import Verified
from .writer import INFO, SCORE, info_text

Progress = Callable[[int], None]
"""Called with the number of shards that are checked."""


def verify(path: Path) -> list[str]:
    """Check a whole folder: every byte of every planned shard, and what is there beside them.

    Returns:
        One sentence for each problem, which names the file.

    Raises:
        ConfigError: the folder is not a shard folder.
        DreamError: the manifest is damaged.
    """
    manifest = load_manifest(path)
    problems = [
        f"{path}: round {number} of the manifest has another fingerprint than its values give"
        for number, item in enumerate(manifest.rounds)
        if item.fingerprint != item.expected_fingerprint(manifest.teacher)
    ]
    records: dict[int, CommitRecord] = {}
    for plan in manifest.shards():
        try:
            record = read_record(path, plan)
        except DreamError as error:
            problems.append(str(error))
            continue
        if record is None:
            problems.append(f"shard {plan.number:06d} has not been made")
        else:
            records[plan.number] = record
    shards = ShardFolder(path=path, manifest=manifest, records=records)
    return [*problems, *_problems(shards, list(shards.plans())), *_other_problems(path, manifest)]


def verify_once(shards: ShardFolder, progress: Progress = lambda done: None) -> None:
    """Check every byte of the shards that were not checked before, or have changed since (see :mod:`.verified`).

    Raises:
        DreamError: there is damage.
    """
    verified = Verified.load(shards)
    if missing := verified.missing():
        if problems := _problems(shards, missing, progress):
            raise _error(problems)
        verified.save()


def check_indexes(shards: ShardFolder) -> None:
    """Check that the indexes are those that were written and lead into their tars, which are not read.

    Raises:
        DreamError: one is damaged.
    """
    for plan in shards.plans():
        if problem := index_problem(shards, plan):
            raise _error([problem])


def shard_problem(shards: ShardFolder, plan: ShardPlan) -> str | None:
    """What is wrong with a shard, in one sentence that names the file; None if nothing is."""
    record = shards.records[plan.number]
    if problem := size_problem(shards.path, plan.number, record):
        return problem
    tar = shard_path(shards.path, plan.number, "tar")
    with tar.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
        if hashlib.sha256(view).hexdigest() != record.sha256:
            return f"{tar} does not have the sha256 that it was written with"
        reader = TarReader(view, plan, shards.manifest.teacher)
        try:
            for _ in reader.samples():
                pass
        except ValueError as error:
            return f"{tar}: {error}"
    return index_problem(shards, plan, index_text(reader.lines))


def index_problem(shards: ShardFolder, plan: ShardPlan, expected: str | None = None) -> str | None:
    """What is wrong with the index of a shard, in one sentence that names the file; None if nothing is.

    Args:
        expected: what it must say; None where the tar was not read, so that its sha256 and its form are checked.
    """
    record, index = shards.records[plan.number], shard_path(shards.path, plan.number, "idx")
    try:
        found = read_limited(index, record.bytes)  # it has a line for four members, each of two blocks or more
    except (OSError, ValueError):
        return f"{index} is missing or cannot be read"
    if hashlib.sha256(found).hexdigest() != record.index_sha256:
        return f"{index} does not have the sha256 that it was written with"
    if expected is not None and found != expected.encode():
        return f"{index} is not the index of its tar"
    if expected is None:
        try:
            check_index(found.decode(), plan, record.bytes)
        except ValueError as error:
            return f"{index}: {error}"
    return None


def _problems(shards: ShardFolder, plans: Sequence[ShardPlan], progress: Progress = lambda done: None) -> list[str]:
    """The problems of these shards, in their order. In threads, since most of the time is reading and hashing."""
    found: list[str] = []
    with ThreadPoolExecutor(cpu_count()) as pool:
        for done, problem in enumerate(pool.map(lambda plan: shard_problem(shards, plan), plans), start=1):
            progress(done)
            if problem:
                found.append(problem)
    return found


def _other_problems(path: Path, manifest: Manifest) -> Iterator[str]:
    """The problems of files that belong to no planned shard, or to all."""
    planned = {plan.number for plan in manifest.shards()}
    for suffix, numbers in listed(path).items():
        for number in sorted(numbers.keys() - planned):
            yield f"{shard_path(path, number, suffix)} belongs to no shard of the manifest: delete it"
    try:
        read_failures(path, manifest.shards())
    except DreamError as error:
        yield str(error)
    info, expected = path / INFO, info_text(path, manifest).encode()
    try:
        if read_limited(info, 2 * len(expected) + 1024) != expected:
            yield f"{info} does not list the shards that are here: run the same di-invert again"
    except (OSError, ValueError):
        yield f"{info} is missing or cannot be read: run the same di-invert again"
    try:
        read_score_file(path)
    except (OSError, ValueError):
        yield f"{path / SCORE} is damaged: delete it, and run di-shards score again"


def _error(problems: Sequence[str]) -> DreamError:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return DreamError(
        f"{problems[0]}{more}; delete the commit records (.json) of damaged shards and run di-invert again to make them"
        " again; di-shards verify names all"
    )

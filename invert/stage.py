"""The invert stage: from a configuration to a shard folder."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..shared.cli.progress import ProgressBar
from ..shared.core.errors import ConfigError, DreamError, PartialError, StoppedError
from ..shared.core.files import remove_stale_temporaries
from ..shared.core.signals import grace
from ..shared.data.images import encode_image
from ..shared.shards.locks import ShardLocks
from ..shared.shards.manifest import load_manifest
from ..shared.shards.records import ShardFailure, clear_failures, read_records, whole_shards
from ..shared.shards.writer import clear_folder, write_info
from .config import InvertConfig
from .engine import Engine
from .execution import Execution
from .executors.local import make_shards
from .plan import Inputs, Plan, load_inputs, make_plan, place_round
from .worker import Job

PROBE_STEPS = 3  # of each stage, timed by a dry run
TOLD = 5  # failed shards that the last sentence names


@dataclass(frozen=True, slots=True, kw_only=True)
class InvertReport:
    """images, shards: whole ones on disk of this round, or of this process's share of it; seconds: of this call;
    agreement: share of these images that the teacher assigns to their target, 0 to 1, None of no images."""

    images: int
    shards: int
    seconds: float
    agreement: float | None


def run(config: InvertConfig) -> InvertReport:
    """Write the shards that are not there yet.

    Several runs may work in one folder at the same time, on one machine or many, with shares (``rank``, ``world``) or
    without: no shard is made by two.

    Raises:
        ConfigError: it does not fit together, or the folder holds another recipe's or another teacher's images.
        PartialError: some shards were given up; the others are kept.
        StoppedError: a signal came, and shards are left.
        DreamError: no shard could be made.
    """
    started = time.monotonic()
    inputs = load_inputs(config)
    folder = config.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from error
    with ShardLocks(folder) as locks, locks.folder():
        if config.overwrite and not locks.all_free():
            raise ConfigError(f"another di-invert is at work in {folder}: --overwrite would delete its shards")
        manifest, number = place_round(inputs)
        if config.overwrite:
            clear_folder(folder)
        manifest.save(folder)
    # From here on, a thousand processes may do the same at once: nobody waits for anybody.
    remove_stale_temporaries(folder)
    todo = make_plan(inputs, manifest, number)
    if inputs.place.world > 1:  # said, since a batch system's variables may stand there for another purpose
        share = f"{inputs.place.rank} of {inputs.place.world}, {len(todo.share)} of {todo.job.round.num_shards} shards"
        print(f"share {share} (--rank 0 --world 1 makes all)", file=sys.stderr)
    failures = _make(inputs, todo)
    manifest = load_manifest(folder)  # others may have appended
    if inputs.place.world == 1 or whole_shards(folder) >= {plan.number for plan in manifest.shards()}:
        write_info(folder, manifest)  # of many, by whoever comes last
    records = read_records(folder, todo.share).values()
    if failures:
        failed = f"{len(failures)} of {len(todo.pending)} shards failed: {_told(failures)}"
        if not records:
            _take_back(folder, todo.job)
        raise (PartialError if records else DreamError)(failed)
    images = sum(record.count for record in records)
    return InvertReport(
        images=images,
        shards=len(records),
        seconds=round(time.monotonic() - started, 3),
        agreement=sum(record.agreement * record.count for record in records) / images if images else None,
    )


def dry_run(config: InvertConfig) -> dict[str, Any]:
    """What :func:`run` would do: shards to write and to skip, their size in bytes, and the time they would take.

    The time comes from a few steps of each stage, the size from one image of noise, which no image compresses worse
    than. Nothing is written.
    """
    inputs = load_inputs(config)
    todo = make_plan(inputs, *place_round(inputs))
    torch.set_num_threads(config.threads)
    images = sum(p.count for p in todo.pending)
    preprocessing = inputs.teacher.preprocessing
    noise = torch.randint(0, 256, (preprocessing.channels, preprocessing.image_size, preprocessing.image_size))
    members = len(encode_image(noise.byte(), todo.job.round.format)) + 2 * inputs.teacher.num_classes
    headers = 4 * 512 + 3 * 512  # four members, a header each, padded to blocks of 512
    return {
        "shards_to_write": len(todo.pending),
        "shards_to_skip": len(todo.share) - len(todo.pending),
        "images": images,
        "bytes": images * (members + headers),
        "seconds": round(_seconds_a_batch(inputs, todo.job) * images / todo.job.round.batch / todo.workers, 1),
        "workers": todo.workers,
        **todo.job.round.execution,
    }


def _make(inputs: Inputs, todo: Plan) -> dict[int, ShardFailure]:
    """Make the pending shards; return which were given up."""
    config = inputs.config
    if not todo.pending:
        return {}
    clear_failures(config.out, todo.pending)  # they are tried again
    total = sum(p.count for p in todo.pending)
    try:
        with grace(config.grace) as stopping, ProgressBar("invert", total=total, unit="images") as bar:
            failures = make_shards(
                todo.job,
                todo.pending,
                engine=config.engine,
                workers=todo.workers,
                device=inputs.device,
                teacher=inputs.teacher,
                stopping=stopping,
                progress=lambda images, terms: bar.advance(images, **terms),
                log=bar.log,
            )
            left = {p.number for p in todo.pending} - failures.keys() - whole_shards(config.out) if stopping() else ()
            if left:
                raise StoppedError(
                    f"stopped by a signal, {len(left)} shards are left; run the same command again to go on"
                )
            return failures
    finally:
        remove_stale_temporaries(config.out)  # of workers that were stopped in the middle of a shard


def _told(failures: dict[int, ShardFailure]) -> str:
    told = [f"{number:06d} ({failure.reason})" for number, failure in sorted(failures.items())[:TOLD]]
    more = len(failures) - len(told)
    return "; ".join([*told, f"and {more} more"] if more else told)


def _take_back(folder: Path, job: Job) -> None:
    """Drop the round of which no shard could be made: the recipe that does better must not find it in its way."""
    with ShardLocks(folder) as locks, locks.folder():
        manifest = load_manifest(folder)
        if not locks.all_free() or whole_shards(folder) & {plan.number for plan in job.round.shards()}:
            return  # other runs have more luck
        if len(manifest.rounds) == 1:
            clear_folder(folder)
        elif job.round_number == len(manifest.rounds) - 1:  # later rounds' seeds depend on their place
            clear_failures(folder, job.round.shards())
            replace(manifest, rounds=manifest.rounds[:-1]).save(folder)


def _seconds_a_batch(inputs: Inputs, job: Job) -> float:
    """By a few steps of each stage; what is compiled for them, the run finds in the cache."""
    recipe = job.recipe
    stages = recipe.stages(inputs.teacher.preprocessing.image_size)
    if not any(steps for steps, _, _ in stages):
        return 0.0
    engine = Engine(
        inputs.teacher, recipe.changed({"steps": (PROBE_STEPS,)}), execution=Execution(**job.round.execution)
    )
    targets = torch.zeros(job.round.batch, dtype=torch.int64)
    engine.synthesize(targets, seed=0)  # warms up
    ends = [time.monotonic()]
    engine.synthesize(targets, seed=0, progress=lambda share, terms: ends.append(time.monotonic()))
    return sum(
        (end - start) / PROBE_STEPS * steps for start, end, (steps, _, _) in zip(ends, ends[1:], stages, strict=False)
    )

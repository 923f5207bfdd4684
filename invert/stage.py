"""The invert stage: from a configuration to a shard folder."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..shared.cli.effects import warn, warn_of_no_effect
from ..shared.cli.evaluation import measure_teacher
from ..shared.cli.progress import ProgressBar
from ..shared.core.errors import ConfigError, DreamError, PartialError, StoppedError
from ..shared.core.files import make_folder, remove_stale_temporaries
from ..shared.core.signals import grace
from ..shared.data.accuracy import check_first
from ..shared.models.classifier import Classifier
from ..shared.models.cost import num_parameters
from ..shared.shards.locks import ShardLocks
from ..shared.shards.manifest import load_manifest
from ..shared.shards.records import ShardFailure, clear_failures, complete_shards, is_complete, mean_of, read_records
from ..shared.shards.verdict import verdict
from ..shared.shards.writer import clear_folder, write_info
from .config import InvertConfig
from .effects import without_effect
from .estimate import estimate
from .executors.base import Executor, run_shards
from .executors.local import LocalExecutor
from .executors.processes import ProcessExecutor
from .executors.ray import RayExecutor, cluster
from .inputs import Inputs, load_inputs
from .job import Job
from .plan import Plan, make_plan, place_round
from .progress import RunProgress
from .queue import ShardQueue

LISTED = 5  # failed shards that the last sentence names


@dataclass(frozen=True, slots=True, kw_only=True)
class InvertReport:
    """What a run leaves.

    Attributes:
        images, shards: whole ones on disk of this round, or of this process's share of it.
        seconds: of this call.
        agreement: share of these images that the teacher assigns to their target, 0 to 1; None without images.
        clipped: share of their pixel values, 0 to 1, that storing clipped to the range of pixels; None without images.
        verdict: what the agreement means, and why it may be low.
        teacher_top1: on the images of ``eval``, 0 to 1; None without any.
        warnings: what seems wrong with the teacher, each in one sentence.
    """

    images: int
    shards: int
    seconds: float
    agreement: float | None
    clipped: float | None
    verdict: str | None
    teacher_top1: float | None
    warnings: list[str]


def run(config: InvertConfig, teacher: Classifier | None = None) -> InvertReport:
    """Write the shards that are not there yet.

    Several runs may work in one folder at the same time, on one machine or many, with shares (``rank``, ``world``) or
    without: no shard is made by two.

    Args:
        teacher: a loaded network in place of the one that the configuration names (see :func:`~.inputs.load_inputs`).

    Raises:
        ConfigError: the options do not fit together, or the folder holds images of another recipe or another teacher.
        PartialError: some shards were given up, or deleted by others meanwhile; the rest is kept.
        StoppedError: a signal came, and shards are left.
        DreamError: no shard could be made.
    """
    started = time.monotonic()
    inputs = load_inputs(config, teacher)
    teacher_top1 = _examined(inputs)
    with contextlib.ExitStack() as stack:
        if config.engine == "ray":
            device = stack.enter_context(cluster(config.address))
            inputs = replace(inputs, device=inputs.device or device)
        plan = _prepare(inputs)
        try:
            failures = _make(inputs, plan)
        except FileNotFoundError as error:
            if config.out.is_dir():
                raise
            raise DreamError(f"{config.out} was deleted or moved during the run: run the same command again") from error
    folder = config.out
    manifest = load_manifest(folder)  # others may have appended
    complete = complete_shards(folder)
    if inputs.place.world == 1 or complete >= {shard.number for shard in manifest.shards()}:
        write_info(folder, manifest)  # if there are several shares, the last one to end writes it
    records = read_records(folder, plan.share).values()
    if failures:
        failed = f"{len(failures)} of {len(plan.pending)} shards failed: {_list(failures)}"
        if not records:
            _drop_round(folder, plan.job)
        raise (PartialError if records else DreamError)(failed)
    share = [item.number for item in plan.share]
    if gone := [n for n in share if n not in complete and not is_complete(folder, n)]:
        raise PartialError(
            f"{len(gone)} of {len(share)} shards, shard {gone[0]:06d} first, are not there any more: something"
            f" deleted them in {folder} during the run; run the same command again to make them again"
        )
    return InvertReport(
        images=sum(record.count for record in records),
        shards=len(records),
        seconds=round(time.monotonic() - started, 3),
        agreement=mean_of(records, "agreement") if records else None,
        clipped=mean_of(records, "clipped") if records else None,
        verdict=verdict(records) if records else None,
        teacher_top1=teacher_top1,
        warnings=list(inputs.warnings),
    )


def check(config: InvertConfig, teacher: Classifier | None = None) -> dict[str, Any]:
    """Load and examine the teacher, and measure it on ``eval``. Writes nothing.

    Raises:
        ConfigError: the teacher cannot be inverted, or see :func:`~.inputs.load_inputs`.
    """
    inputs = load_inputs(config, teacher)
    found, logits = inputs.teacher, [value for row in inputs.teacher.probe_logits for value in row]
    preprocessing = found.preprocessing
    return {
        "teacher": found.title,
        "teacher_top1": measure_teacher(found, inputs.images) if inputs.images else None,
        "classes": found.num_classes,
        "image_size": preprocessing.image_size,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "parameters": num_parameters(found.network),
        "recipe": inputs.recipe_name,
        "lowest_logit": min(logits),
        "highest_logit": max(logits),
        "warnings": inputs.warnings,
    }


def dry_run(config: InvertConfig, teacher: Classifier | None = None) -> dict[str, Any]:
    """What :func:`run` would do (see :func:`~.estimate.estimate`). It writes, compiles and connects to nothing."""
    inputs = load_inputs(config, teacher)
    _warn(inputs)
    if inputs.images:
        check_first(inputs.images, inputs.teacher.preprocessing)
    return estimate(inputs, make_plan(inputs, *place_round(inputs)))


def _examined(inputs: Inputs) -> float | None:
    """Show what is known of the teacher before the work, once for all shares. Returns its top-1, if it is measured."""
    if inputs.place.rank > 0:
        return None
    _warn(inputs)
    return measure_teacher(inputs.teacher, inputs.images) if inputs.images else None


def _warn(inputs: Inputs) -> None:
    warn_of_no_effect(inputs.config, without_effect(inputs))
    for warning in inputs.warnings:
        warn(f"{inputs.teacher.title}: {warning}")


def _prepare(inputs: Inputs) -> Plan:
    """Write the manifest, and plan the shards."""
    config, folder = inputs.config, inputs.config.out
    make_folder(folder)
    with ShardLocks(folder) as locks, locks.folder():
        if config.overwrites and not locks.all_free():
            raise ConfigError(f"another di-invert is at work in {folder}: --overwrite would delete its shards")
        manifest, number = place_round(inputs)
        if config.overwrites:
            clear_folder(folder)
        manifest.save(folder)
    # From here on, a thousand processes may do the same at once, and none waits for another.
    remove_stale_temporaries(folder)
    plan = make_plan(inputs, manifest, number)
    if inputs.place.world > 1:  # printed because a batch system may have set the variables for another purpose
        share = f"{inputs.place.rank} of {inputs.place.world}, {len(plan.share)} of {plan.job.round.num_shards} shards"
        print(f"share {share} (--rank 0 --world 1 makes all)", file=sys.stderr)
    return plan


def _make(inputs: Inputs, plan: Plan) -> dict[int, ShardFailure]:
    """Make the pending shards; return those that were given up."""
    config = inputs.config
    if not plan.pending:
        return {}
    clear_failures(config.out, plan.pending)  # they are tried again
    done = RunProgress(plan.pending)
    try:
        with grace(config.grace) as stopping, ProgressBar("invert", total=done.total, unit="images") as bar:

            def progress(number: int, fraction: float, losses: dict[str, float]) -> None:
                bar.update(done.update(number, fraction), **losses)

            if made := len(plan.share) - len(plan.pending):
                bar.log(f"invert: going on at shard {made + 1} of {len(plan.share)}")
            queue = ShardQueue(config.out, plan.pending, stopping=stopping, log=bar.log)
            with contextlib.closing(_executor(inputs, plan)) as executor:
                run_shards(queue, executor, progress=progress)
            left = {p.number for p in plan.pending} - queue.failures.keys() - complete_shards(config.out)
            if stopping() and left:
                raise StoppedError(
                    f"stopped by a signal, {len(left)} shards are left; run the same command again to go on"
                )
            return queue.failures
    finally:
        remove_stale_temporaries(config.out)  # of workers that were stopped in the middle of a shard


def _executor(inputs: Inputs, plan: Plan) -> Executor:
    assert inputs.device is not None
    if plan.workers is None:
        return RayExecutor(plan.job, inputs.device)
    if plan.workers == 1:
        return LocalExecutor(plan.job, inputs.device, inputs.teacher)
    return ProcessExecutor(plan.job, inputs.device, workers=plan.workers)


def _list(failures: dict[int, ShardFailure]) -> str:
    listed = [f"{number:06d} ({failure.reason})" for number, failure in sorted(failures.items())[:LISTED]]
    more = len(failures) - len(listed)
    return "; ".join([*listed, f"and {more} more"] if more else listed)


def _drop_round(folder: Path, job: Job) -> None:
    """Drop a round of which no shard could be made, so that it does not stand in the way of a recipe that works."""
    with ShardLocks(folder) as locks, locks.folder():
        manifest = load_manifest(folder)
        if not locks.all_free() or complete_shards(folder) & {plan.number for plan in job.round.shards()}:
            return  # other runs have more success
        if len(manifest.rounds) == 1:
            clear_folder(folder)
        elif job.round_number == len(manifest.rounds) - 1:  # later rounds' seeds depend on their place
            clear_failures(folder, job.round.shards())
            replace(manifest, rounds=manifest.rounds[:-1]).save(folder)

"""The invert stage: from a configuration to a shard folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..shared.claims import Claims
from ..shared.config import to_mapping
from ..shared.errors import ConfigError, DreamError, PartialError, StoppedError
from ..shared.images import default_format, encode_image
from ..shared.launch import Place, find_place
from ..shared.manifest import MANIFEST, Manifest, Round, ShardPlan, load_manifest
from ..shared.marks import ShardFailure, clear_failures, is_whole, read_records, whole_shards
from ..shared.progress import Progress
from ..shared.runtime import cpu_count, pick_device, remove_stale_temporaries
from ..shared.shards import clear_folder, write_info
from ..shared.signals import grace
from ..shared.teachers import Teacher, load_teacher
from .config import InvertConfig
from .engine import Engine, check_recipe
from .execution import Execution, choose_execution
from .fanout import default_workers, make_shards
from .ray_cluster import connect
from .recipe import Recipe, find_recipe
from .worker import Job

IMAGES_A_SHARD = 256  # at least, in whole batches, unless --shard-size says otherwise
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    """What a configuration names, loaded; device: of the workers."""

    config: InvertConfig
    place: Place
    device: torch.device
    teacher: Teacher
    student: Teacher | None
    recipe_name: str
    recipe: Recipe
    classes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What inputs come to in a folder: the job, the manifest to have, the shards of this process's share, and those of
    them that are not there yet."""

    job: Job
    manifest: Manifest
    share: tuple[ShardPlan, ...]
    pending: tuple[ShardPlan, ...]
    workers: int


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
    inputs = _load(config)
    folder = config.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from error
    with Claims(folder) as claims, claims.folder():
        if config.overwrite and not claims.nothing_in_hand():
            raise ConfigError(f"another di-invert is at work in {folder}: --overwrite would delete its shards")
        todo = _plan(inputs)
        if config.overwrite:
            clear_folder(folder)
        todo.manifest.save(folder)
        remove_stale_temporaries(folder)
    failures = _make(inputs, todo)
    with Claims(folder) as claims, claims.folder():
        write_info(folder, load_manifest(folder))
    records = read_records(folder, todo.share).values()
    if failures:
        failed = f"{len(failures)} of {len(todo.pending)} shards failed: {_told(failures)}"
        if not records:
            _take_back(folder, todo)
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
    inputs = _load(config)
    todo = _plan(inputs)
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


def _load(config: InvertConfig) -> _Inputs:
    if config.out.exists() and not config.out.is_dir():
        raise ConfigError(f"cannot make the folder {config.out}: there is a file of that name")
    place = find_place(config.rank, config.world)
    if config.overwrite and place.world > 1:
        raise ConfigError(
            f"--overwrite with {place.world} shares would delete what the others write: delete {config.out} first"
        )
    if config.engine == "ray":
        tasks = connect(config.address)
        if config.device == "cpu":
            tasks = torch.device("cpu")
        device, here = tasks, torch.device("cpu")
    else:
        device = here = pick_device(config.device, place.local_rank)
    teacher = load_teacher(
        config.teacher,
        weights=config.weights,
        num_classes=config.num_classes,
        mean=config.mean,
        std=config.std,
        image_size=config.image_size,
        device=here,
    )
    name, recipe = find_recipe(config.recipe, teacher.preprocessing.image_size)
    recipe = recipe.changed(config.changes)
    student = _load_student(config, teacher)
    if student is None:
        if config.changes.get("alpha_compete"):
            raise ConfigError("--alpha-compete needs a --student to compete against")
        recipe = recipe.changed({"alpha_compete": 0.0})
    check_recipe(teacher, recipe)
    classes = config.classes or tuple(range(teacher.num_classes))
    if min(classes) < 0 or max(classes) >= teacher.num_classes:
        raise ConfigError(f"--classes must lie in 0..{teacher.num_classes - 1}, the teacher's classes")
    return _Inputs(
        config=config,
        place=place,
        device=device,
        teacher=teacher,
        student=student,
        recipe_name=name,
        recipe=recipe,
        classes=classes,
    )


def _plan(inputs: _Inputs) -> _Plan:
    """Resolve inputs against the output folder, writing nothing."""
    config, teacher, recipe, student = inputs.config, inputs.teacher, inputs.recipe, inputs.student
    # Batches of equal size: a small last one would have poor statistics, and another shape to compile.
    batch = _equal_parts(min(config.shard_size or config.images, config.images), recipe.batch_size)
    manifest, round_number = _place(
        config,
        teacher,
        images=config.images,
        recipe={
            "name": inputs.recipe_name,
            **to_mapping(recipe),
            "seed": config.seed,
            "classes": "all" if config.classes is None else list(inputs.classes),
            "threads": config.threads,
        },
        shard_size=config.shard_size or batch * -(-IMAGES_A_SHARD // batch),
        batch=batch,
        format=default_format(teacher.preprocessing.image_size) if config.format == "auto" else config.format,
        student=student.sha256 if student else None,
    )
    manifest = manifest.with_execution(
        round_number, _execution(config, manifest.rounds[round_number], teacher, recipe, inputs.device)
    )
    item = manifest.rounds[round_number]
    job = Job(
        teacher=teacher.describe(),
        student=student.describe() if student else None,
        recipe=recipe,
        round=item,
        round_number=round_number,
        classes=inputs.classes,
        seed=config.seed,
        threads=config.threads,
        folder=config.out,
    )
    whole = whole_shards(config.out) if config.out.exists() and not config.overwrite else set()
    share = tuple(p for p in item.shards() if (p.number - item.first_shard) % inputs.place.world == inputs.place.rank)
    pending = tuple(p for p in share if p.number not in whole)
    workers = config.workers or default_workers(inputs.device, config.threads, cpu_count(), inputs.place)
    return _Plan(job=job, manifest=manifest, share=share, pending=pending, workers=max(1, min(workers, len(pending))))


def _make(inputs: _Inputs, todo: _Plan) -> dict[int, ShardFailure]:
    """Make the pending shards; return which were given up."""
    config = inputs.config
    if not todo.pending:
        return {}
    clear_failures(config.out, todo.pending)  # they are tried again
    total = sum(p.count for p in todo.pending)
    try:
        with grace(config.grace) as stopping, Progress("invert", total=total, unit="images") as bar:
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
            left = sum(p.number not in failures and not is_whole(config.out, p.number) for p in todo.pending)
            if left:
                raise StoppedError(f"stopped by a signal, {left} shards are left; run the same command again to go on")
            return failures
    finally:
        remove_stale_temporaries(config.out)  # of workers that were stopped in the middle of a shard


def _told(failures: dict[int, ShardFailure]) -> str:
    told = [f"{number:06d} ({failure.reason})" for number, failure in sorted(failures.items())[:TOLD]]
    more = len(failures) - len(told)
    return "; ".join([*told, f"and {more} more"] if more else told)


def _take_back(folder: Path, todo: _Plan) -> None:
    """Drop the round of which no shard could be made: the recipe that does better must not find it in its way."""
    with Claims(folder) as claims, claims.folder():
        if not claims.nothing_in_hand() or whole_shards(folder) & {plan.number for plan in todo.job.round.shards()}:
            return  # other runs have more luck
        earlier = todo.manifest.rounds[: todo.job.round_number]
        if not earlier:
            clear_folder(folder)
        elif todo.job.round_number == len(todo.manifest.rounds) - 1:  # later rounds' seeds depend on their place
            clear_failures(folder, todo.job.round.shards())
            replace(todo.manifest, rounds=earlier).save(folder)


def _seconds_a_batch(inputs: _Inputs, job: Job) -> float:
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


def _equal_parts(total: int, most: int) -> int:
    """Size of the parts when ``total`` is divided into as few as there can be with ``most`` in each."""
    return -(-total // -(-total // most))


def _execution(
    config: InvertConfig, item: Round, teacher: Teacher, recipe: Recipe, device: torch.device
) -> dict[str, Any]:
    """What the round was begun with, so that its shards are alike; for a new one, the choice."""
    if not item.execution:
        choice = choose_execution(
            compile=config.compile,
            precision=config.precision,
            teacher=teacher,
            recipe=recipe,
            images=item.images,
            device=device,
        )
        return asdict(choice)
    begun = {"compile": "on" if item.execution["compile"] else "off", "precision": item.execution["precision"]}
    for name, value in begun.items():
        if getattr(config, name) not in ("auto", value):
            raise ConfigError(
                f"{config.out} was begun with --{name} {value}: leave the option out to go on with it, or --overwrite"
            )
    return dict(item.execution)


def _place(
    config: InvertConfig, teacher: Teacher, *, recipe: Mapping[str, Any], images: int, **round_settings: Any
) -> tuple[Manifest, int]:
    """The manifest to have and the round to make: the one of this very recipe if there is one, else a new one."""
    fresh = Manifest(teacher=teacher.describe(), rounds=())
    if config.overwrite or not (config.out / MANIFEST).exists():
        return fresh.with_round(fresh.next_round(recipe=recipe, images=images, **round_settings)), 0
    manifest = load_manifest(config.out)
    wanted: Round = manifest.next_round(recipe=recipe, images=images, **round_settings)
    if manifest.teacher_identity() != fresh.teacher_identity():
        raise ConfigError(
            f"{config.out} holds images of another teacher ({manifest.teacher['name']}): choose another --out, or"
            " --overwrite"
        )
    for number, item in enumerate(manifest.rounds):
        if item.fingerprint == wanted.fingerprint:
            return manifest, number
    if not config.append:
        changed = [key for key, value in recipe.items() if manifest.rounds[-1].recipe.get(key) != value]
        if manifest.rounds[-1].images != images:
            changed.append("images")
        raise ConfigError(
            f"{config.out} holds images of another recipe (differs in {', '.join(changed) or 'its shards'}):"
            " --append adds to them, --overwrite deletes them, another --out leaves them alone"
        )
    return manifest.with_round(wanted), len(manifest.rounds)


def _load_student(config: InvertConfig, teacher: Teacher) -> Teacher | None:
    if config.student is None:
        return None
    student = load_teacher(config.student, mean=teacher.preprocessing.mean, std=teacher.preprocessing.std)
    if student.num_classes != teacher.num_classes:
        raise ConfigError(f"--student has {student.num_classes} classes and the teacher {teacher.num_classes}")
    return student

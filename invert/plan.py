"""What a configuration comes to: its inputs loaded, then, in its folder, the job and the shards that are to be made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..shared.core.config import to_mapping
from ..shared.core.device import cpu_count, pick_device
from ..shared.core.errors import ConfigError
from ..shared.core.launch import Place, find_place
from ..shared.data.images import default_format
from ..shared.models.classifier import Classifier, load_model
from ..shared.shards.manifest import MANIFEST, Manifest, Round, ShardPlan, load_manifest
from ..shared.shards.records import whole_shards
from .config import InvertConfig
from .engine import check_recipe
from .execution import choose_execution
from .executors.local import default_workers
from .executors.ray import connect
from .recipe import Recipe, find_recipe
from .worker import Job

IMAGES_A_SHARD = 256  # at least, in whole batches, unless --shard-size says otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a configuration names, loaded; device: of the workers."""

    config: InvertConfig
    place: Place
    device: torch.device
    teacher: Classifier
    student: Classifier | None
    recipe_name: str
    recipe: Recipe
    classes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What inputs come to in a folder: the job, the shards of this process's share, and those of them that are not
    there yet."""

    job: Job
    share: tuple[ShardPlan, ...]
    pending: tuple[ShardPlan, ...]
    workers: int


def load_inputs(config: InvertConfig) -> Inputs:
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
    teacher = load_model(
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
            raise ConfigError("--alpha-compete needs a student: give --compete-with FOLDER")
        recipe = recipe.changed({"alpha_compete": 0.0})
    check_recipe(teacher, recipe)
    classes = config.classes or tuple(range(teacher.num_classes))
    if min(classes) < 0 or max(classes) >= teacher.num_classes:
        raise ConfigError(f"--classes must lie in 0..{teacher.num_classes - 1}, the teacher's classes")
    return Inputs(
        config=config,
        place=place,
        device=device,
        teacher=teacher,
        student=student,
        recipe_name=name,
        recipe=recipe,
        classes=classes,
    )


def place_round(inputs: Inputs) -> tuple[Manifest, int]:
    """The manifest that the output folder is to have, and the number of our round in it. Writes nothing.

    Raises:
        ConfigError: the folder holds another recipe's or another teacher's images.
    """
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
    execution = _execution(config, manifest.rounds[round_number], teacher, recipe, inputs.device)
    return manifest.with_execution(round_number, execution), round_number


def make_plan(inputs: Inputs, manifest: Manifest, round_number: int) -> Plan:
    """What is to be made of a round, as the folder is now."""
    config = inputs.config
    item = manifest.rounds[round_number]
    job = Job(
        teacher=inputs.teacher.describe(),
        student=inputs.student.describe() if inputs.student else None,
        recipe=inputs.recipe,
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
    return Plan(job=job, share=share, pending=pending, workers=max(1, min(workers, len(pending))))


def _equal_parts(total: int, most: int) -> int:
    """Size of the parts when ``total`` is divided into as few as there can be with ``most`` in each."""
    return -(-total // -(-total // most))


def _execution(
    config: InvertConfig, item: Round, teacher: Classifier, recipe: Recipe, device: torch.device
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
    config: InvertConfig, teacher: Classifier, *, recipe: Mapping[str, Any], images: int, **round_settings: Any
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


def _load_student(config: InvertConfig, teacher: Classifier) -> Classifier | None:
    if config.compete_with is None:
        return None
    student = load_model(config.compete_with, mean=teacher.preprocessing.mean, std=teacher.preprocessing.std)
    if student.num_classes != teacher.num_classes:
        raise ConfigError(
            f"the student of --compete-with has {student.num_classes} classes and the teacher {teacher.num_classes}"
        )
    return student

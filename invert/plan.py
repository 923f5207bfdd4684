"""What is to be made in a folder: the round of the manifest that the inputs describe, and its missing shards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ..shared.core.config import differences, to_mapping
from ..shared.core.device import cpu_count
from ..shared.core.errors import ConfigError
from ..shared.core.launch import Place
from ..shared.core.places import MANIFEST
from ..shared.data.images import default_format
from ..shared.models.comparison import check_computation
from ..shared.models.named_files import named_keys
from ..shared.shards.manifest import Execution, Manifest, Round, ShardPlan, load_manifest
from ..shared.shards.records import complete_shards
from .execution import choose_execution
from .inputs import Inputs
from .job import Job

IMAGES_PER_SHARD = 256  # at least, in whole batches, unless --shard-size says otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the inputs describe, in a folder.

    Attributes:
        share: the shards that this process is responsible for.
        pending: those of them that are not made yet.
        workers: how many to start; None if only the Ray cluster decides.
    """

    job: Job
    share: tuple[ShardPlan, ...]
    pending: tuple[ShardPlan, ...]
    workers: int | None


def place_round(inputs: Inputs) -> tuple[Manifest, int]:
    """The manifest that the output folder is to have, and the number of our round in it. Writes nothing.

    Raises:
        ConfigError: the folder holds images of another recipe or another teacher.
    """
    config, recipe = inputs.config, inputs.recipe
    # Batches of equal size: a small last one would have poor statistics, and another shape to compile.
    batch = _equal_parts(min(config.shard_size or config.images, config.images), recipe.batch_size)
    image_size = inputs.teacher.preprocessing.image_size
    manifest, round_number = _find_round(
        inputs,
        recipe={
            "name": inputs.recipe_name,
            **to_mapping(recipe),
            "seed": config.seed,
            "classes": "all" if config.classes is None else list(inputs.classes),
            "threads": config.threads,
        },
        images=config.images,
        shard_size=config.shard_size or batch * -(-IMAGES_PER_SHARD // batch),
        batch=batch,
        format=default_format(image_size) if config.format == "auto" else config.format,
        student=inputs.student.sha256 if inputs.student else None,
    )
    execution = _execution(inputs, manifest.rounds[round_number])
    return manifest.with_execution(round_number, execution), round_number


def make_plan(inputs: Inputs, manifest: Manifest, round_number: int) -> Plan:
    """The shards of a round that are to be made, as the folder is now."""
    config, place = inputs.config, inputs.place
    item = manifest.rounds[round_number]
    job = Job(
        teacher=inputs.teacher.record(),
        student=inputs.student.record() if inputs.student else None,
        recipe=inputs.recipe,
        round=item,
        round_number=round_number,
        classes=inputs.classes,
        seed=config.seed,
        threads=config.threads,
        folder=config.out,
        code=tuple(path.resolve() for path in config.code),
        named=named_keys(),
    )
    whole = complete_shards(config.out) if config.out.exists() and not config.overwrites else set()
    share = tuple(p for p in item.shards() if (p.number - item.first_shard) % place.world == place.rank)
    pending = tuple(p for p in share if p.number not in whole)
    return Plan(job=job, share=share, pending=pending, workers=_workers(inputs, len(pending)))


def default_workers(device: torch.device, threads: int, cpus: int, place: Place) -> int:
    """One process for each GPU; on the CPU, as many as fill the processors with ``threads`` each.

    Processes of one launch on the same machine have one GPU each, and divide the processors.
    """
    if device.type == "cuda":
        return 1 if place.local_world > 1 else torch.cuda.device_count()
    return max(1, cpus // place.local_world // threads)


def _workers(inputs: Inputs, pending: int) -> int | None:
    config = inputs.config
    if config.engine == "ray":
        return None
    assert inputs.device is not None
    if inputs.teacher.name is None:  # no other process can load it
        return 1
    workers = config.workers or default_workers(inputs.device, config.threads, cpu_count(), inputs.place)
    return max(1, min(workers, pending))


def _equal_parts(total: int, most: int) -> int:
    """Size of the parts when ``total`` is divided into as few as possible, with at most ``most`` in each."""
    return -(-total // -(-total // most))


def _execution(inputs: Inputs, item: Round) -> Execution | None:
    """How the round was begun, so that its shards are alike; for a new one, the choice.

    None where the choice depends on a cluster that has not been joined.
    """
    config = inputs.config
    if item.execution is not None:
        begun = {"compile": "on" if item.execution.compile else "off", "precision": item.execution.precision}
        for name, value in begun.items():
            if getattr(config, name) not in ("auto", value):
                raise ConfigError(
                    f"{config.out} was begun with --{name} {value}: leave the option out to go on with it, or"
                    " --overwrite"
                )
        return item.execution
    if inputs.device is None:
        return None
    return choose_execution(
        compile=config.compile,
        precision=config.precision,
        teacher=inputs.teacher,
        recipe=inputs.recipe,
        images=item.images,
        device=inputs.device,
    )


def _find_round(inputs: Inputs, *, recipe: dict[str, Any], images: int, **round_settings: Any) -> tuple[Manifest, int]:
    """The manifest to have and the round to make: the one of this very recipe if there is one, else a new one."""
    config, teacher = inputs.config, inputs.teacher
    fresh = Manifest(teacher=teacher.record(), rounds=())
    if config.overwrites or not (config.out / MANIFEST).exists():
        return fresh.with_round(fresh.next_round(recipe=recipe, images=images, **round_settings)), 0
    manifest = load_manifest(config.out)
    wanted: Round = manifest.next_round(recipe=recipe, images=images, **round_settings)
    if manifest.teacher.identity() != fresh.teacher.identity():
        raise ConfigError(
            f"{config.out} holds images of another teacher ({manifest.teacher.title}): choose another --out, or"
            " --overwrite"
        )
    if recorded := manifest.teacher.probe_logits:
        check_computation(
            fresh.teacher.probe_logits, recorded, title=teacher.title, then=f"when it made the images of {config.out}"
        )
    if teacher.class_names != manifest.teacher.class_names and config.class_names is not None:
        manifest = replace(manifest, teacher=replace(manifest.teacher, class_names=teacher.class_names))
    for number, item in enumerate(manifest.rounds):
        if item.fingerprint == wanted.fingerprint:
            return manifest, number
    if not config.append:
        changed = _differences(manifest.rounds[-1], wanted)
        raise ConfigError(
            f"{config.out} holds images of another recipe (differs in {changed}):"
            " --append adds to them, --overwrite deletes them, another --out leaves them alone"
        )
    return manifest.with_round(wanted), len(manifest.rounds)


def _differences(before: Round, now: Round) -> str:
    names = "images", "shard_size", "batch", "format", "student"
    shards = ({name: getattr(item, name) for name in names} for item in (before, now))
    return "; ".join(filter(None, (differences(before.recipe, now.recipe), differences(*shards))))

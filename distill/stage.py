"""The distill stage: from a shard folder to a saved student, in one process or in those that torchrun started."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..shared.core.device import make_deterministic, pick_device
from ..shared.core.errors import ConfigError
from ..shared.core.launch import Place, Rows
from ..shared.data.accuracy import top1
from ..shared.data.labelled import open_labelled
from ..shared.models.checkpoints import save_model, weights_sha256
from ..shared.models.classifier import Classifier, Preprocessing, load_model, new_student, reload_model
from ..shared.models.results import ResultFolder
from ..shared.shards.batches import Batch
from ..shared.shards.folder import ShardFolder
from ..shared.shards.loaders import make_loader, resolve_loader
from .config import DistillConfig
from .criterion import Distillation
from .distributed import Group, joined, share_processors, torchrun_place
from .trainer import seconds_per_step, train
from .views import Views


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillReport:
    """What a run measured.

    Attributes:
        teacher_top1, student_top1: on the images of ``eval``, 0 to 1; None without any, or without the teacher.
        seconds: of training, over all calls that it took.
    """

    teacher_top1: float | None
    student_top1: float | None
    seconds: float
    eval: str | None


def run(config: DistillConfig) -> DistillReport | None:
    """Train a student, save it, and measure it. What an earlier call has done is not done again.

    Under torchrun its processes train together. The first alone writes files, measures, and returns the report; the
    others return None.

    Raises:
        ConfigError: the shards, the student, the teacher or the evaluation set cannot be used.
        DreamError: the training failed.
    """
    place = torchrun_place()
    share_processors(place)
    device = pick_device(config.device, place.local_rank)
    make_deterministic()
    with joined(place, device) as group:
        return _run(config, group, device)


def _run(config: DistillConfig, group: Group, device: torch.device) -> DistillReport | None:
    shards = ShardFolder.open(config.shards, rounds=config.rounds)
    images = (
        open_labelled(config.eval, shards.manifest.teacher["num_classes"]) if config.eval and group.is_first else None
    )
    teacher = _find_teacher(config, shards, device, warn=group.is_first)
    loader = group.from_first(resolve_loader(config.training.loader))
    architecture, student = _new_student(config, shards)
    begun_as = weights_sha256(student) if config.init else None
    folder = ResultFolder.open(config, shards.identity, teacher.sha256 if teacher else None, begun_as)
    finished = group.from_first(folder.report())
    if finished is not None and finished["eval"] == config.eval:
        return DistillReport(**finished) if group.is_first else None
    # The teacher is measured first, so that images that do not fit are noticed before the training.
    teacher_top1 = top1(teacher.network, images, teacher.preprocessing) if images and teacher else None
    if not group.from_first(folder.has_model()):
        _train(config, shards, teacher, folder, student.to(device), loader, group)
        if group.is_first:
            _save(config, shards, architecture, student)
    if not group.is_first:
        return None
    saved = load_model(str(config.out), device=device)
    report = DistillReport(
        teacher_top1=teacher_top1,
        student_top1=top1(saved.network, images, saved.preprocessing) if images else None,
        seconds=folder.training_seconds(),
        eval=config.eval,
    )
    folder.finish(asdict(report))
    return report


def dry_run(config: DistillConfig) -> dict[str, Any] | None:
    """What :func:`run` would do: images, steps, and the seconds that they would take, by the time of one step.

    Under torchrun, None in all processes but the first.
    """
    place = torchrun_place()
    share_processors(place)
    device = pick_device(config.device, place.local_rank)
    if place.rank > 0:
        return None
    shards = ShardFolder.open(config.shards, rounds=config.rounds)
    teacher = _find_teacher(config, shards, device, warn=True)
    architecture, student = _new_student(config, shards)
    steps = shards.num_batches(config.training.batch_size)
    epochs = config.training.passes(steps)
    record = shards.manifest.teacher
    preprocessing = Preprocessing.of(record)
    student.to(device)
    example_NCHW = preprocessing.blank(1, device)
    criterion = Distillation.of(
        config.training, student=student, teacher=teacher.network if teacher else None, example_NCHW=example_NCHW
    )
    count = max(2, config.training.batch_size // place.world)
    batch = Batch(
        preprocessing.to_pixels(preprocessing.blank(count, device)),
        torch.zeros(count, record["num_classes"], device=device),
        torch.zeros(count, dtype=torch.long, device=device),
        Rows(count),
    )
    seconds = seconds_per_step(
        student,
        batch,
        criterion,
        views=Views(training=config.training, preprocessing=preprocessing, relabelled=criterion.teacher is not None),
        training=config.training,
        example_NCHW=example_NCHW,
    )
    return {
        "student": architecture,
        "images": shards.num_samples,
        "epochs": epochs,
        "steps": epochs * steps,
        "labels": "stored" if criterion.teacher is None else "teacher",
        "feature_maps": [pair.teacher.side for pair in criterion.pairs],
        "seconds": round(epochs * steps * seconds, 1),
    }


def _train(
    config: DistillConfig,
    shards: ShardFolder,
    teacher: Classifier | None,
    folder: ResultFolder,
    student: nn.Module,
    loader: str,
    group: Group,
) -> None:
    preprocessing = Preprocessing.of(shards.manifest.teacher)
    device = next(student.parameters()).device
    example_NCHW = preprocessing.blank(1).to(next(student.parameters()))
    criterion = Distillation.of(
        config.training,
        student=student,
        teacher=teacher.network if teacher else None,
        example_NCHW=example_NCHW,
        group=group,
    )
    train(
        student,
        make_loader(
            shards,
            loader,
            batch_size=config.training.batch_size,
            shuffle=True,
            seed=config.seed,
            device=device,
            threads=max(1, min(2, torch.get_num_threads())),
            # With mixup, any image of the batch may be a partner of this process's images, so it decodes all of them.
            place=Place() if config.training.mixup else group.place,
        ),
        criterion,
        views=Views(
            training=config.training,
            preprocessing=preprocessing,
            relabelled=criterion.teacher is not None,
            place=group.place,
        ),
        training=config.training,
        example_NCHW=example_NCHW,
        folder=folder,
        seed=config.seed,
        title="distill",
        group=group,
    )


def _save(config: DistillConfig, shards: ShardFolder, architecture: str, student: nn.Module) -> None:
    record = shards.manifest.teacher
    save_model(
        config.out,
        student,
        architecture=architecture,
        num_classes=record["num_classes"],
        class_names=record["class_names"],
        **Preprocessing.of(record).describe(),
    )


def _new_student(config: DistillConfig, shards: ShardFolder) -> tuple[str, nn.Module]:
    """The name of the architecture that builds the student, and the student before its first step."""
    record = shards.manifest.teacher
    preprocessing = Preprocessing.of(record)
    if config.init is None:
        name = config.student or record["name"]
        return new_student(name, num_classes=record["num_classes"], preprocessing=preprocessing, seed=config.seed)
    saved = load_model(str(config.init))
    if (saved.num_classes, saved.preprocessing) != (record["num_classes"], preprocessing):
        raise ConfigError(
            f"--init {config.init} was not made for the teacher's classes, image size, mean and std: leave --init out,"
            " or name a model that was distilled from the same teacher"
        )
    return saved.architecture, saved.network.requires_grad_(True)


def _find_teacher(config: DistillConfig, shards: ShardFolder, device: torch.device, *, warn: bool) -> Classifier | None:
    """The teacher of the shards. None if it does not load and the settings do not require it: logits are stored.

    Args:
        warn: print the reason on stderr.
    """
    try:
        return reload_model(shards.manifest.teacher, name=config.teacher, weights=config.weights, device=device)
    except ConfigError as error:
        if config.teacher or config.weights or config.training.labels == "teacher":
            raise
        if warn:
            print(f"the teacher does not load, so its stored logits are the labels: {error}", file=sys.stderr)
        return None

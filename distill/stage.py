"""The distill stage: from a shard folder to a saved student."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..shared.checkpoints import save_model
from ..shared.errors import ConfigError
from ..shared.evaluation import open_eval, top1
from ..shared.loaders import make_loader, resolve_loader
from ..shared.results import ResultFolder
from ..shared.runtime import cpu_count, make_deterministic, pick_device
from ..shared.shards import ShardFolder
from ..shared.teachers import Preprocessing, Teacher, load_teacher, new_student, reload_teacher
from .config import DistillConfig
from .trainer import train


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillReport:
    """teacher_top1, student_top1: on the images of ``eval``, 0 to 1, None without any (or without the teacher);
    seconds: of training, over all calls that it took."""

    teacher_top1: float | None
    student_top1: float | None
    seconds: float
    eval: str | None


def run(config: DistillConfig) -> DistillReport:
    """Train a student, save it, and measure it. What is done already is not done again.

    Raises:
        ConfigError: the shards, the student, the teacher or the evaluation set cannot be used.
        DreamError: the training failed.
    """
    device = pick_device(config.device)
    torch.set_num_threads(cpu_count())
    make_deterministic()
    shards = ShardFolder.open(config.shards)
    images = open_eval(config.eval, shards.manifest.teacher["num_classes"]) if config.eval else None
    teacher = _find_teacher(config, shards, device)
    resolve_loader(config.training.loader)
    name, student = _new_student(config, shards)
    folder = ResultFolder.open(config, shards.identity, teacher.sha256 if teacher else None)
    finished = folder.report()
    if finished is not None and finished["eval"] == config.eval:
        return DistillReport(**finished)
    # The teacher is measured first: images that do not fit are better noticed before the training than after.
    teacher_top1 = top1(teacher.network, images, teacher.preprocessing) if images and teacher else None
    if not folder.has_model():
        _train_student(config, shards, teacher, folder, name, student.to(device))
    saved = load_teacher(str(config.out), device=device)
    report = DistillReport(
        teacher_top1=teacher_top1,
        student_top1=top1(saved.network, images, saved.preprocessing) if images else None,
        seconds=folder.training_seconds(),
        eval=config.eval,
    )
    folder.finish(asdict(report))
    return report


def dry_run(config: DistillConfig) -> dict[str, Any]:
    """What :func:`run` would do: images, steps, and the time that they would take by two steps' measure."""
    device = pick_device(config.device)
    torch.set_num_threads(cpu_count())
    shards = ShardFolder.open(config.shards)
    teacher = _find_teacher(config, shards, device)
    name, student = _new_student(config, shards)
    steps = config.training.epochs * -(-shards.num_samples // config.training.batch_size)
    preprocessing = Preprocessing.of(shards.manifest.teacher)
    x_NCHW = preprocessing.blank(config.training.batch_size, device)
    student.to(device).train()
    seconds = 0.0
    for _ in range(2):  # the first warms up
        begun = time.monotonic()
        if teacher is not None and config.training.labels != "stored":
            with torch.no_grad():
                teacher.network(x_NCHW)
        student(x_NCHW).sum().backward()
        seconds = time.monotonic() - begun
    return {
        "student": name,
        "images": shards.num_samples,
        "epochs": config.training.epochs,
        "steps": steps,
        "labels": "stored" if teacher is None or config.training.labels == "stored" else "teacher",
        "seconds": round(steps * seconds, 1),
    }


def _train_student(
    config: DistillConfig,
    shards: ShardFolder,
    teacher: Teacher | None,
    folder: ResultFolder,
    name: str,
    student: nn.Module,
) -> None:
    record = shards.manifest.teacher
    preprocessing = Preprocessing.of(record)
    train(
        student,
        make_loader(
            shards,
            config.training.loader,
            batch_size=config.training.batch_size,
            shuffle=True,
            seed=config.seed,
            device=next(student.parameters()).device,
        ),
        config.training,
        teacher=None if teacher is None or config.training.labels == "stored" else teacher.network,
        preprocessing=preprocessing,
        folder=folder,
        seed=config.seed,
        title="distill",
    )
    save_model(
        config.out,
        student,
        architecture=name,
        num_classes=record["num_classes"],
        class_names=record["class_names"],
        **preprocessing.describe(),
    )


def _new_student(config: DistillConfig, shards: ShardFolder) -> tuple[str, nn.Module]:
    record = shards.manifest.teacher
    return new_student(
        config.student or record["name"],
        num_classes=record["num_classes"],
        preprocessing=Preprocessing.of(record),
        seed=config.seed,
    )


def _find_teacher(config: DistillConfig, shards: ShardFolder, device: torch.device) -> Teacher | None:
    """The teacher of the shards; None if it does not load and nobody insisted on it, since logits are stored."""
    try:
        return reload_teacher(shards.manifest.teacher, name=config.teacher, weights=config.weights, device=device)
    except ConfigError as error:
        if config.teacher or config.weights or config.training.labels == "teacher":
            raise
        print(f"the teacher does not load, so its stored logits are the labels: {error}", file=sys.stderr)
        return None

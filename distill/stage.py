"""The distill stage: from a shard folder to a saved student, in one process or in those that torchrun started."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..shared.core.device import cpu_count, make_deterministic, pick_device
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
from .distributed import ALONE, Group, joined, torchrun_place
from .trainer import set_up, take_step, train


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillReport:
    """teacher_top1, student_top1: on the images of ``eval``, 0 to 1, None without any (or without the teacher);
    seconds: of training, over all calls that it took."""

    teacher_top1: float | None
    student_top1: float | None
    seconds: float
    eval: str | None


def run(config: DistillConfig) -> DistillReport | None:
    """Train a student, save it, and measure it. What is done already is not done again.

    Under torchrun its processes train together. The first alone writes files, measures, and returns the report; the
    others return None.

    Raises:
        ConfigError: the shards, the student, the teacher or the evaluation set cannot be used.
        DreamError: the training failed.
    """
    place, device = _ground(config)
    make_deterministic()
    with joined(place, device) as group:
        return _run(config, group, device)


def _run(config: DistillConfig, group: Group, device: torch.device) -> DistillReport | None:
    shards = ShardFolder.open(config.shards, rounds=config.rounds)
    images = (
        open_labelled(config.eval, shards.manifest.teacher["num_classes"]) if config.eval and group.is_first else None
    )
    teacher = _find_teacher(config, shards, device, tell=group.is_first)
    loader = group.from_first(resolve_loader(config.training.loader))
    name, student = _student_at_start(config, shards)
    begun_as = weights_sha256(student) if config.init else None
    folder = ResultFolder.open(config, shards.identity, teacher.sha256 if teacher else None, begun_as)
    finished = group.from_first(folder.report())
    if finished is not None and finished["eval"] == config.eval:
        return DistillReport(**finished) if group.is_first else None
    # The teacher is measured first: images that do not fit are better noticed before the training than after.
    teacher_top1 = top1(teacher.network, images, teacher.preprocessing) if images and teacher else None
    if not group.from_first(folder.has_model()):
        _train_student(config, shards, teacher, folder, name, student.to(device), loader, group)
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
    """What :func:`run` would do: images, steps, and the time that they would take by two steps' measure.

    Under torchrun, None at all processes but the first.
    """
    place, device = _ground(config)
    if place.rank > 0:
        return None
    shards = ShardFolder.open(config.shards, rounds=config.rounds)
    teacher = _find_teacher(config, shards, device, tell=True)
    name, student = _student_at_start(config, shards)
    steps = shards.num_batches(config.training.batch_size)
    epochs = config.training.passes(steps)
    record = shards.manifest.teacher
    preprocessing = Preprocessing.of(record)
    count = max(2, config.training.batch_size // place.world)
    network = teacher.network if teacher else None
    hinted, lessons, optimizers = set_up(
        student.to(device).train(), network, config.training, preprocessing=preprocessing, group=ALONE
    )
    pixels_NCHW = preprocessing.to_pixels(preprocessing.blank(count, device))
    logits_NK = torch.zeros(count, record["num_classes"], device=device)
    batch = Batch(pixels_NCHW, logits_NK, torch.zeros(count, dtype=torch.long, device=device), Rows(count))
    seconds = 0.0
    for _ in range(2):  # the first warms up
        begun = time.monotonic()
        take_step(lambda x, rows: hinted(x), batch, lessons, optimizers)
        seconds = time.monotonic() - begun
    return {
        "student": name,
        "images": shards.num_samples,
        "epochs": epochs,
        "steps": epochs * steps,
        "labels": "stored" if lessons.teacher is None else "teacher",
        "hints": [place.side for place in hinted.places],
        "seconds": round(epochs * steps * seconds, 1),
    }


def _train_student(
    config: DistillConfig,
    shards: ShardFolder,
    teacher: Classifier | None,
    folder: ResultFolder,
    name: str,
    student: nn.Module,
    loader: str,
    group: Group,
) -> None:
    record = shards.manifest.teacher
    preprocessing = Preprocessing.of(record)
    train(
        student,
        make_loader(
            shards,
            loader,
            batch_size=config.training.batch_size,
            shuffle=True,
            seed=config.seed,
            device=next(student.parameters()).device,
            threads=max(1, min(2, torch.get_num_threads())),
            # Any image of the batch may be mixup's partner of this process's rows: it needs, and decodes, all of it.
            place=Place() if config.training.mixup else group.place,
        ),
        config.training,
        teacher=teacher.network if teacher else None,
        preprocessing=preprocessing,
        folder=folder,
        seed=config.seed,
        title="distill",
        group=group,
    )
    if not group.is_first:
        return
    save_model(
        config.out,
        student,
        architecture=name,
        num_classes=record["num_classes"],
        class_names=record["class_names"],
        **preprocessing.describe(),
    )


def _ground(config: DistillConfig) -> tuple[Place, torch.device]:
    """This process's place and device; its share of the machine's processors is set."""
    place = torchrun_place()
    torch.set_num_threads(max(1, cpu_count() // place.local_world))
    return place, pick_device(config.device, place.local_rank)


def _student_at_start(config: DistillConfig, shards: ShardFolder) -> tuple[str, nn.Module]:
    """The student before its first step, and the name of the architecture that builds it."""
    record = shards.manifest.teacher
    preprocessing = Preprocessing.of(record)
    if config.init is None:
        name = config.student or record["name"]
        return new_student(name, num_classes=record["num_classes"], preprocessing=preprocessing, seed=config.seed)
    saved = load_model(str(config.init))
    if (saved.num_classes, saved.preprocessing) != (record["num_classes"], preprocessing):
        raise ConfigError(f"--init {config.init} is not of the teacher's classes, image size and normalisation")
    return saved.architecture, saved.network.requires_grad_(True)


def _find_teacher(config: DistillConfig, shards: ShardFolder, device: torch.device, *, tell: bool) -> Classifier | None:
    """The teacher of the shards; None if it does not load and nobody insisted on it, since logits are stored.

    Args:
        tell: say so on stderr.
    """
    try:
        return reload_model(shards.manifest.teacher, name=config.teacher, weights=config.weights, device=device)
    except ConfigError as error:
        if config.teacher or config.weights or config.training.labels == "teacher":
            raise
        if tell:
            print(f"the teacher does not load, so its stored logits are the labels: {error}", file=sys.stderr)
        return None

"""The distill stage: from a shard folder to a saved student, in one process or in those that torchrun started."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..shared.cli.cards import save_card
from ..shared.cli.checking import check_shards
from ..shared.cli.effects import warn_of_no_effect
from ..shared.core.device import make_deterministic, pick_device
from ..shared.core.launch import Place
from ..shared.data.accuracy import check_first, top1
from ..shared.data.labelled import open_labelled
from ..shared.models.checkpoints import save_model
from ..shared.models.classifier import Classifier
from ..shared.models.cost import count_macs, num_parameters
from ..shared.models.results import ResultFolder
from ..shared.shards.folder import ShardFolder
from ..shared.shards.loaders import make_loader, resolve_loader
from ..shared.structure.targets import first_images
from .config import DistillConfig
from .criterion import Distillation
from .distributed import ALONE, Group, joined, share_processors, torchrun_place
from .effects import without_effect
from .estimate import seconds_a_step
from .events import require_tensorboard
from .features import FIT_IMAGES
from .inheriting import batches_to_inherit, give_weights
from .interpolation import FirstWeights
from .job import DistillJob
from .measuring import Agreement, measure_first
from .networks import find_teacher, start_student
from .progress import Measure
from .report import DistillReport, student_card
from .step import choose_compiler, images_seen
from .trainer import train


def run(
    config: DistillConfig, *, teacher: Classifier | None = None, student: nn.Module | None = None
) -> DistillReport | None:
    """Train a student, save it, and measure it. What an earlier call has done is not done again.

    Under torchrun its processes train together. The first alone writes files, measures, and returns the report; the
    others return None.

    Args:
        teacher: the teacher of the shards in memory, in place of the one that the manifest names. It is moved to the
            device.
        student: a module in memory, in place of ``config.student``: logits (N, K) from (N, C, H, W). It is trained in
            place, from the weights that it has, and ends with the saved weights on the device. An interrupted run goes
            on only if a module with the same first weights is passed again. The saved model names no architecture, so
            that it is loaded with such a module only.

    Raises:
        ConfigError: the shards, the student, the teacher or the evaluation set cannot be used.
        DreamError: the training failed.
    """
    place = torchrun_place()
    device = pick_device(config.device, place.local_rank)
    make_deterministic()
    with share_processors(place), joined(place, device) as group:
        return _run(config, group, device, teacher, student)


def _run(
    config: DistillConfig,
    group: Group,
    device: torch.device,
    given_teacher: Classifier | None,
    given_student: nn.Module | None,
) -> DistillReport | None:
    shards = ShardFolder.open(config.shards, rounds=config.rounds)
    record = shards.manifest.teacher
    if config.training.tensorboard:
        require_tensorboard()
    images = None
    if config.eval and group.is_first:
        images = open_labelled(config.eval, record.num_classes, record.class_names)
    teacher = find_teacher(config, record, given_teacher, device, warn=group.is_first)
    loader = group.from_first(resolve_loader(config.training.loader))
    student = start_student(config, record, given_student, teacher)
    folder = ResultFolder.open(
        config, shards=shards.identity, teacher=teacher.sha256 if teacher else None, start=student.start
    )
    finished = group.from_first(folder.report(DistillReport))
    if finished is not None and finished.eval == config.eval:
        if not group.is_first:
            return None
        if given_student is not None:
            student.load_saved(config, device)
        return finished
    job = DistillJob.of(config, shards, teacher, student, loader=loader, group=group, device=device)
    teacher_top1, measure = measure_first(teacher, images, shards)
    if not group.from_first(folder.has_model()):
        _train(job, folder, measure)
        if group.is_first:
            save_model(
                config.out,
                student.network,
                architecture=student.architecture,
                num_classes=record.num_classes,
                class_names=record.class_names,
                preprocessing=job.preprocessing,
            )
    if not group.is_first:
        return None
    saved, example_NCHW = student.load_saved(config, device), job.example_NCHW
    report = DistillReport(
        teacher_top1=teacher_top1,
        student_top1=top1(saved, images, job.preprocessing) if images else None,
        inherited=job.lineage is not None,
        agreement=(measure if isinstance(measure, Agreement) else Agreement(shards)).share(saved),
        parameters=num_parameters(saved),
        teacher_parameters=num_parameters(teacher.network) if teacher else None,
        macs=count_macs(saved, example_NCHW),
        teacher_macs=teacher.macs if teacher else None,
        seconds=folder.training_seconds(),
        eval=config.eval,
    )
    save_card(config.out, student_card(config, report, record, student.architecture))
    folder.finish(report)
    return report


def dry_run(config: DistillConfig) -> dict[str, Any] | None:
    """What :func:`run` would do, with the seconds that it would take (:func:`~..shared.models.cost.seconds_for`). It
    looks at the first images of ``eval``, and writes nothing.

    Under torchrun, None in all processes but the first.
    """
    place = torchrun_place()
    if place.rank > 0:
        return None
    device = pick_device(config.device, place.local_rank)
    shards = ShardFolder.open(config.shards, rounds=config.rounds)
    record = shards.manifest.teacher
    teacher = find_teacher(config, record, None, device, warn=True)
    student = start_student(config, record, None, teacher)
    loader = resolve_loader(config.training.loader)
    job = DistillJob.of(config, shards, teacher, student, loader=loader, group=ALONE, device=device)
    training, preprocessing = job.training, job.preprocessing
    steps = shards.num_batches(training.batch_size)
    epochs = training.passes(steps)
    criterion = Distillation.of(training, **job.networks)
    if config.eval:
        check_first(open_labelled(config.eval, record.num_classes, record.class_names), preprocessing)
    views = criterion.views(training, preprocessing)
    warn_of_no_effect(config, without_effect(training, criterion, views, interpolates=job.keeps_start))

    count = max(2, min(training.batch_size, shards.num_samples) // place.world)
    with share_processors(place):
        seconds = seconds_a_step(
            student.network,
            teacher.network if teacher and criterion.teacher is not None else None,
            criterion,
            views=views,
            training=training,
            preprocessing=preprocessing,
            num_classes=record.num_classes,
            images=count,
        )
    return {
        "student": student.architecture,
        "inherits": job.lineage is not None,
        "images": shards.num_samples,
        "epochs": epochs,
        "steps": epochs * steps,
        "lr": training.lr,
        "labels": "stored" if criterion.teacher is None else "teacher",
        "feature_maps": [pair.teacher.side for pair in criterion.pairs],
        "seconds": round(epochs * steps * seconds, 1),
    }


def _train(job: DistillJob, folder: ResultFolder, measure: Measure) -> None:
    config, shards, teacher, group, training = job.config, job.shards, job.teacher, job.group, job.training
    # The others wait here: a damaged folder must not reach their readers.
    group.from_first(check_shards(shards, verify=config.verify) if group.is_first else None)
    student = job.student.network
    first, first_NCHW = None, None
    if teacher and job.keeps_start:
        scored = batches_to_inherit(config, shards, job.loader, job.device)
        first_NCHW = first_images((x_NCHW for x_NCHW, _ in scored()), FIT_IMAGES)
        if job.lineage and not group.from_first(folder.checkpoint.exists() and not config.overwrites):
            if group.is_first:
                give_weights(student, teacher, job.lineage, scored)
            student.load_state_dict(group.from_first(student.state_dict()))
        first = FirstWeights(student) if training.interpolates else None
    images = images_seen(training, shards)
    compiler = choose_compiler(training, **job.networks, images=images, title="distill", group=group)
    criterion = Distillation.of(training, **job.networks, group=group, compiler=compiler, first_NCHW=first_NCHW)
    views = criterion.views(training, job.preprocessing)
    if group.is_first:
        warn_of_no_effect(config, without_effect(training, criterion, views, interpolates=job.keeps_start))
    batches = make_loader(
        shards,
        job.loader,
        batch_size=training.batch_size,
        shuffle=True,
        seed=config.seed,
        device=job.device,
        threads=max(1, min(2, torch.get_num_threads())),
        # With mixup, any image of the batch may be a partner of this process's images, so it decodes all of them.
        place=Place() if training.mixup else group.place,
    )
    train(
        student,
        batches,
        criterion,
        views=views,
        training=training,
        example_NCHW=job.example_NCHW,
        folder=folder,
        seed=config.seed,
        title="distill",
        measure=measure,
        group=group,
        compiler=compiler,
        first=first,
    )
    if teacher and first is not None and first_NCHW is not None:
        first.settle(student, teacher.network, first_NCHW, title="distill", group=group)

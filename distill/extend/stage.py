"""The extend stage: from a teacher, its shards and images of new classes to a network that knows all classes."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from ...shared.cli.cards import save_card
from ...shared.cli.checking import check_shards
from ...shared.cli.effects import warn, warn_of_no_effect
from ...shared.core.device import make_deterministic
from ...shared.core.errors import printable
from ...shared.core.launch import Place, require_alone
from ...shared.data.accuracy import check_first
from ...shared.data.labelled_set import LabelledSet
from ...shared.models.checkpoints import save_model
from ...shared.models.classifier import Classifier
from ...shared.models.cost import PATIENCE
from ...shared.models.layout import common_layout
from ...shared.models.results import ResultFolder
from ...shared.report.confusions import Confusion
from ...shared.shards.loaders import resolve_loader
from ..distributed import share_processors
from ..estimate import seconds_a_step
from ..events import require_tensorboard
from ..measuring import Agreement, Top1
from ..progress import Measure
from ..step import choose_compiler
from ..trainer import train
from .config import ExtendConfig
from .effects import without_effect
from .job import ExtendJob
from .known import known_classes, suspicion
from .measuring import Measured
from .report import ExtendReport, alarm, extended_card
from .separation import SeparationSets
from .views import ReplayViews


def run(config: ExtendConfig, *, teacher: Classifier | None = None) -> ExtendReport:
    """Teach the shards' teacher new classes, save the network and measure it.

    What an earlier call has done is not done again.

    Args:
        teacher: the teacher of the shards in memory, in place of the one that the manifest names. It is moved to the
            device, and stays as it is otherwise. If no name builds its architecture, the saved model names none, and
            is loaded with a module of this architecture only.

    Raises:
        ConfigError: the shards, the teacher, the new images or the evaluation set cannot be used.
        DreamError: the training failed.
    """
    require_alone("di-extend")
    make_deterministic()
    with share_processors(Place()):
        return _run(ExtendJob.of(config, teacher))


def _run(job: ExtendJob) -> ExtendReport:
    config = job.config
    if config.training.tensorboard:
        require_tensorboard()
    images = job.real_images()
    loader = resolve_loader(config.training.loader)
    folder = ResultFolder.open(config, shards=job.shards.identity, teacher=job.teacher.sha256, new=job.new.sha256)
    finished = folder.report(ExtendReport)
    if finished is not None and finished.eval == config.eval:
        return finished
    started = time.monotonic()
    before = _measure(job, job.teacher.logits, images)
    seconds = time.monotonic() - started
    if before is not None:
        print(printable(f"teacher: top-1 {before.top1_old:.2%} of the old classes ({config.eval})"), file=sys.stderr)
    if not folder.has_model():
        _warn_of_known(job)
        taken = job.teacher.preprocessing
        measure = Agreement(job.shards) if images is None else Top1(images, taken, None, seconds)
        _train(job, folder, loader, measure)
    report = _report(job, folder, images, before)
    if (warning := alarm(report)) is not None:
        warn(warning)
    save_card(config.out, extended_card(config, report, job.teacher, job.class_names))
    folder.finish(report)
    return report


def dry_run(config: ExtendConfig) -> dict[str, Any]:
    """What :func:`run` would do: classes, images, steps, the layers that get new rows, and the seconds of the training
    (:func:`~..estimate.seconds_a_step`).

    It reads the new images, looks at the first ones of ``eval``, and writes nothing.
    """
    job = ExtendJob.of(config)
    if (images := job.real_images()) is not None:
        check_first(images, job.teacher.preprocessing)
    _warn_of_known(job, patience=PATIENCE)
    network, head = job.wider()
    criterion, views = job.criterion(head, dry_run=True), _views(job)
    warn_of_no_effect(config, without_effect(config, views))
    batches = job.loader(resolve_loader(config.training.loader))
    epochs = config.training.passes(len(batches))
    with share_processors(Place()):
        seconds = seconds_a_step(
            network,
            job.answering,
            criterion,
            views=views,
            training=config.training,
            preprocessing=job.teacher.preprocessing,
            num_classes=job.old,
            images=config.training.batch_size,
        )
    return {
        "classes_old": job.old,
        "classes_new": job.new.num_classes,
        "images_synthetic": job.shards.num_samples if batches.synthetic else 0,
        "images_new": len(job.new),
        "synthetic_in_a_batch": batches.synthetic_size,
        "new_in_a_batch": batches.new_size,
        "head": list(head),
        "epochs": epochs,
        "steps": epochs * len(batches),
        "seconds": round(epochs * len(batches) * seconds, 1),
    }


def _train(job: ExtendJob, folder: ResultFolder, loader: str, measure: Measure) -> None:
    config, teacher = job.config, job.teacher
    check_shards(job.shards, verify=config.verify)
    training, preprocessing = config.training, teacher.preprocessing
    network, head = job.wider()
    criterion, batches, views = job.criterion(head), job.loader(loader), _views(job)
    warn_of_no_effect(config, without_effect(config, views))
    compiler = choose_compiler(
        training,
        student=network,
        teacher=job.answering,
        images=training.passes(len(batches)) * len(batches) * training.batch_size,
        example_NCHW=job.example_NCHW,
        title="extend",
    )
    train(
        network,
        batches,
        criterion,
        views=views,
        training=training,
        example_NCHW=job.example_NCHW,
        folder=folder,
        seed=config.seed,
        title="extend",
        measure=measure,
        compiler=compiler,
    )
    save_model(
        config.out,
        network,
        architecture=teacher.architecture,
        num_classes=job.num_classes,
        class_names=job.class_names,
        preprocessing=preprocessing,
    )


def _views(job: ExtendJob) -> ReplayViews:
    """What the network sees of a batch: synthetic and new images cropped and flipped in the same way."""
    return ReplayViews(
        training=job.config.training,
        preprocessing=job.teacher.preprocessing,
        relabelled=False,  # new images have labels of whole images
        answered=job.answering is not None,
        layout=common_layout([job.teacher.network], job.example_NCHW),
    )


def _warn_of_known(job: ExtendJob, *, patience: float = math.inf) -> None:
    known = known_classes(job.teacher, job.new, patience=patience)
    if (warning := suspicion(known, job.teacher, job.new)) is not None:
        warn(warning)


def _measure(job: ExtendJob, logits_of: Callable[[Tensor], Tensor], images: LabelledSet | None) -> Measured | None:
    if images is None:
        return None
    return Measured.of(logits_of, images, job.teacher.preprocessing, old=job.old, num_classes=job.num_classes)


def _report(job: ExtendJob, folder: ResultFolder, images: LabelledSet | None, before: Measured | None) -> ExtendReport:
    saved, preprocessing = job.load_saved(), job.teacher.preprocessing

    after = _measure(job, partial(preprocessing.logits, saved), images)
    sets = None if images is None else SeparationSets(job.shards, images, old=job.old)
    return ExtendReport(
        classes_old=job.old,
        classes_new=job.new.num_classes,
        class_names=job.class_names,
        images_synthetic=0 if job.config.share == 1 else job.shards.num_samples,
        images_new=len(job.new),
        top1_old_before=before.top1_old if before else None,
        top1_old=after.top1_old if after else None,
        top1_new=after.top1_new if after else None,
        top1_joint=after.top1_joint if after else None,
        separation_before=sets.measure(job.teacher.network) if sets else None,
        separation=sets.measure(saved) if sets else None,
        confusion=Confusion.of(after.confusion_JJ) if after else None,
        seconds=folder.training_seconds(),
        eval=job.config.eval,
    )

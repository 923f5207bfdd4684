"""The prune stage: from a teacher and its shards to a smaller network, repaired by distillation, and saved."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..distill.distributed import share_processors
from ..distill.events import require_tensorboard
from ..distill.features import FIT_IMAGES
from ..distill.measuring import measure_first
from ..distill.progress import Measure
from ..shared.cli.cards import save_card
from ..shared.cli.checking import check_shards
from ..shared.cli.effects import warn
from ..shared.cli.progress import ProgressBar
from ..shared.core.device import make_deterministic
from ..shared.core.errors import DreamError
from ..shared.core.launch import Place, require_alone
from ..shared.core.places import MODEL_JSON
from ..shared.data.accuracy import check_first, top1
from ..shared.data.labelled import LabelledSet, open_labelled
from ..shared.models.checkpoints import save_model
from ..shared.models.classifier import Classifier, load_model
from ..shared.models.results import ResultFolder
from ..shared.shards.loaders import resolve_loader
from ..shared.structure.targets import first_images
from .choices import Choices
from .config import UNITS, PruneConfig
from .curve import curve
from .job import PruneJob
from .layer_table import LAYERS, write_layers
from .planning import PruningPlan
from .repair import repair, warn_of_repair
from .report import Pruned, PruneReport, compare, pruned_card
from .schedule import Bite, prune_network

__all__ = ["curve", "dry_run", "run"]


def run(config: PruneConfig, *, teacher: Classifier | None = None) -> PruneReport:
    """Prune the shards' teacher, repair it by distillation, save and measure it.

    What an earlier call has done is not done again.

    Args:
        teacher: the teacher of the shards in memory, in place of the one that the manifest names. It is moved to the
            device, and stays as it is otherwise. If no name builds its architecture, the saved model names none, and
            is loaded with a module of this architecture only.

    Raises:
        ConfigError: the shards, the teacher or the evaluation set cannot be used, or the architecture cannot be pruned.
        DreamError: the training failed.
    """
    require_alone("di-prune")
    make_deterministic()
    with share_processors(Place()):
        return _run(PruneJob.of(config, teacher))


def _run(job: PruneJob) -> PruneReport:
    config, shards, teacher = job.config, job.shards, job.teacher
    if config.training.tensorboard:
        require_tensorboard()
    images = open_labelled(config.eval, teacher.num_classes, teacher.class_names) if config.eval else None
    resolve_loader(config.training.loader)
    folder = ResultFolder.open(config, shards=shards.identity, teacher=teacher.sha256)
    finished = folder.report(PruneReport)
    if finished is not None and finished.eval == config.eval:
        return finished
    plan = None if folder.has_model() else job.plan()
    top1_before, measure = measure_first(teacher, images, shards)
    pruned = Pruned()
    if plan is not None:
        for remark in plan.remarks():
            print(remark, file=sys.stderr)
        pruned = _prune_and_repair(job, plan, folder, measure, images)
    report = compare(
        teacher,
        _load_saved(job),
        images=images,
        eval=config.eval,
        top1_before=top1_before,
        pruned=pruned,
        example_NCHW=job.example_NCHW,
        clock=job.clock,
        seconds=round(pruned.seconds + folder.training_seconds(), 3),
    )
    save_card(config.out, pruned_card(config, report, teacher))
    folder.finish(report)
    if (remark := report.remark()) is not None:
        warn(remark)
    return report


def dry_run(config: PruneConfig) -> dict[str, Any]:
    """What :func:`run` would do: what may go and what of the budget's unit is left, images to score and to train on.

    It looks at the first images of ``eval``, and writes nothing.
    """
    job = PruneJob.of(config)
    shards, teacher = job.shards, job.teacher
    if config.eval:
        check_first(open_labelled(config.eval, teacher.num_classes, teacher.class_names), teacher.preprocessing)
    warn_of_repair(config, teacher)
    plan = job.plan()
    for remark in plan.remarks():
        print(remark, file=sys.stderr)
    steps = shards.num_batches(config.training.batch_size)
    epochs = config.training.passes(steps)
    digits = 3 if job.unit.is_measured else None
    return {
        "budget": UNITS[plan.budget.option],
        "before": round(plan.total, digits),
        "left": round(plan.target, digits),
        "least_that_can_be_left": round(plan.least, digits),
        "groups": len(plan.floors),
        "groups_left_out": list(plan.left_out),
        "blocks": list(plan.blocks),
        "iterations": config.iterations,
        "images_per_iteration": min(config.score_images, shards.num_samples),
        "epochs": epochs,
        "training_steps": epochs * steps,
    }


def _prune_and_repair(
    job: PruneJob, plan: PruningPlan, folder: ResultFolder, measure: Measure, images: LabelledSet | None
) -> Pruned:
    """Prune, repair and save. Returns what was measured of the network before it was trained."""
    config, teacher = job.config, job.teacher
    check_shards(job.shards, verify=config.verify)
    warn_of_repair(config, teacher)
    started = time.monotonic()
    # A run that was killed makes the same choices again, and goes on from the checkpoint of the repair.
    batches = job.batches()
    bite = _prune(job, plan, folder, batches)
    network = bite.fitted.network.requires_grad_(True)
    write_layers(config.out / LAYERS, job, plan, network)
    seconds = time.monotonic() - started
    pruned = Pruned(seconds=seconds)
    if images is not None:
        raw, ls = (top1(each.network, images, teacher.preprocessing) for each in (bite.cut, bite.fitted))
        pruned = Pruned(top1_raw=raw, top1_ls=ls, seconds=seconds)
    first_NCHW = first_images((x_NCHW for x_NCHW, _ in batches()), FIT_IMAGES)
    repair(config, job.shards, teacher, network, folder, measure, first_NCHW)
    save_model(
        config.out,
        network,
        architecture=teacher.architecture,
        num_classes=teacher.num_classes,
        class_names=teacher.class_names,
        preprocessing=teacher.preprocessing,
    )
    _check_saved(job, network)
    return pruned


def _prune(
    job: PruneJob, plan: PruningPlan, folder: ResultFolder, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]
) -> Bite:
    config = job.config
    saved = Choices(run=folder.identity) if config.overwrites else Choices.read(config.out, folder.identity)
    with ProgressBar("prune", total=config.iterations, unit="iterations") as bar:
        return prune_network(
            job.teacher.network,
            plan,
            iterations=config.iterations,
            batches=batches,
            example_NCHW=job.example_NCHW,
            known=saved.choices,
            keep=lambda choices: saved.write(config.out, choices),
            report_progress=bar.update,
        )


def _load_saved(job: PruneJob) -> nn.Module:
    """The pruned network as it was saved, in eval mode."""
    config, teacher = job.config, job.teacher
    network = copy.deepcopy(teacher.network) if teacher.architecture is None else None
    return load_model(str(config.out), network=network, code=config.code, device=job.device).network


@torch.no_grad()
def _check_saved(job: PruneJob, network: nn.Module) -> None:
    """Check that the saved network is the trained one: its channel configuration must describe all changes."""
    again_NK = _load_saved(job)(job.example_NCHW)
    trained_NK = network.eval()(job.example_NCHW)
    # Not the same bits: the trained network's weights are channels last in memory, which changes the order of sums.
    if (again_NK - trained_NK).abs().max() > 1e-3 * trained_NK.abs().max():
        (job.config.out / MODEL_JSON).unlink()
        raise DreamError("the pruned network does not load as it was saved; please report this architecture")

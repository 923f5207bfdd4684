"""The prune stage: from a teacher and its shards to a smaller network, repaired by distillation, and saved."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..distill.distributed import share_processors
from ..distill.events import require_tensorboard
from ..distill.measuring import measure_first
from ..distill.networks import given_teacher
from ..distill.progress import Measure
from ..shared.cli.checking import check_shards
from ..shared.cli.progress import ProgressBar
from ..shared.core.device import make_deterministic, pick_device
from ..shared.core.errors import DreamError
from ..shared.core.launch import Place, require_alone
from ..shared.data.accuracy import check_first, top1
from ..shared.data.labelled import LabelledSet, open_labelled
from ..shared.models.checkpoints import MODEL_JSON, save_model
from ..shared.models.classifier import Classifier, load_model, reload_model
from ..shared.models.named_files import name_files
from ..shared.models.results import ResultFolder
from ..shared.models.students import check_trainable
from ..shared.shards.folder import ShardFolder
from ..shared.shards.loaders import resolve_loader
from .config import UNITS, PruneConfig
from .patterns import Patterns
from .planning import PruningPlan, plan_pruning
from .repair import make_training_loader, repair, warn_of_repair
from .report import Pruned, PruneReport, compare
from .schedule import Bite, prune_network

# Tensor cores take channels in eights; processors take them as they come, but for a few per cent.
ROUND_TO = {"cuda": 8, "cpu": 1}


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
        return _run(config, teacher, pick_device(config.device))


def _run(config: PruneConfig, given: Classifier | None, device: torch.device) -> PruneReport:
    shards, teacher = _open(config, given, device)
    if config.training.tensorboard:
        require_tensorboard()
    images = open_labelled(config.eval, teacher.num_classes, teacher.class_names) if config.eval else None
    resolve_loader(config.training.loader)
    folder = ResultFolder.open(config, shards=shards.identity, teacher=teacher.sha256)
    finished = folder.report(PruneReport)
    if finished is not None and finished.eval == config.eval:
        return finished
    plan = None if folder.has_model() else _plan(config, teacher, device)
    top1_before, measure = measure_first(teacher, images, shards)
    pruned = Pruned()
    if plan is not None:
        pruned = _prune_and_repair(config, shards, teacher, folder, device, plan, measure, images)
    network = _load_saved(config, teacher, device)
    report = compare(
        teacher,
        network,
        images=images,
        eval=config.eval,
        top1_before=top1_before,
        pruned=pruned,
        example_NCHW=_example(teacher, device),
        latency_batch=config.latency_batch,
        seconds=round(pruned.seconds + folder.training_seconds(), 3),
    )
    folder.finish(report)
    return report


def dry_run(config: PruneConfig) -> dict[str, Any]:
    """What :func:`run` would do: what may go and what of the budget's unit is left, images to score and to train on.

    It looks at the first images of ``eval``, and writes nothing.
    """
    device = pick_device(config.device)
    shards, teacher = _open(config, None, device)
    if config.eval:
        check_first(open_labelled(config.eval, teacher.num_classes, teacher.class_names), teacher.preprocessing)
    warn_of_repair(config, teacher)
    plan = _plan(config, teacher, device)
    steps = shards.num_batches(config.training.batch_size)
    epochs = config.training.passes(steps)
    return {
        "budget": UNITS[plan.budget.option],
        "before": round(plan.total),
        "left": round(plan.target),
        "least_that_can_be_left": round(plan.least),
        "groups": len(plan.floors),
        "groups_left_out": list(plan.left_out),
        "blocks": list(plan.blocks),
        "iterations": config.iterations,
        "images_per_iteration": min(config.score_images, shards.num_samples),
        "epochs": epochs,
        "training_steps": epochs * steps,
    }


def _open(config: PruneConfig, given: Classifier | None, device: torch.device) -> tuple[ShardFolder, Classifier]:
    shards = ShardFolder.open(config.shards)
    name_files(config.code)
    record = shards.manifest.teacher
    if given is not None:
        return shards, given_teacher(given, record, device, named=bool(config.teacher or config.weights))
    return shards, reload_model(record, name=config.teacher, weights=config.weights, code=config.code, device=device)


def _plan(config: PruneConfig, teacher: Classifier, device: torch.device) -> PruningPlan:
    """What is to go. Refuses what cannot be pruned, trained or saved, before any work."""
    check_trainable(teacher.network, teacher.preprocessing, title=teacher.title)
    plan = plan_pruning(
        teacher.network,
        config.budget,
        example_NCHW=_example(teacher, device),
        patterns=Patterns(keep=config.keep, only=config.only),
    )
    if remark := plan.remark():
        print(remark, file=sys.stderr)
    return plan


def _prune_and_repair(
    config: PruneConfig,
    shards: ShardFolder,
    teacher: Classifier,
    folder: ResultFolder,
    device: torch.device,
    plan: PruningPlan,
    measure: Measure,
    images: LabelledSet | None,
) -> Pruned:
    """Prune, repair and save. Returns what was measured of the network before it was trained."""
    check_shards(shards, verify=config.verify)
    warn_of_repair(config, teacher)
    started = time.monotonic()
    # Pruning takes little time next to the repair, and gives the same result each time. A run that was killed prunes
    # again, and goes on from the checkpoint of the repair.
    bite = _prune(config, shards, teacher, device, plan)
    network = bite.fitted.network.requires_grad_(True)
    seconds = time.monotonic() - started
    pruned = Pruned(seconds=seconds)
    if images is not None:
        raw, ls = (top1(each.network, images, teacher.preprocessing) for each in (bite.cut, bite.fitted))
        pruned = Pruned(top1_raw=raw, top1_ls=ls, seconds=seconds)
    repair(config, shards, teacher, network, folder, measure)
    save_model(
        config.out,
        network,
        architecture=teacher.architecture,
        num_classes=teacher.num_classes,
        class_names=teacher.class_names,
        preprocessing=teacher.preprocessing,
    )
    _check_saved(config, teacher, network, device)
    return pruned


def _prune(
    config: PruneConfig, shards: ShardFolder, teacher: Classifier, device: torch.device, plan: PruningPlan
) -> Bite:
    batch_size = config.training.batch_size
    loader = make_training_loader(config, shards, device)
    scored = list(islice(loader, -(-config.score_images // batch_size)))  # bytes: small

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in scored:
            yield teacher.preprocessing.normalize(batch.images), batch.targets

    with ProgressBar("prune", total=config.iterations, unit="iterations") as bar:
        return prune_network(
            teacher.network,
            plan,
            iterations=config.iterations,
            batches=batches,
            example_NCHW=_example(teacher, device),
            round_to=config.round_to or ROUND_TO[device.type],
            report_progress=bar.update,
        )


def _load_saved(config: PruneConfig, teacher: Classifier, device: torch.device) -> nn.Module:
    """The pruned network as it was saved, in eval mode."""
    network = copy.deepcopy(teacher.network) if teacher.architecture is None else None
    return load_model(str(config.out), network=network, code=config.code, device=device).network


@torch.no_grad()
def _check_saved(config: PruneConfig, teacher: Classifier, network: nn.Module, device: torch.device) -> None:
    """Check that the saved network is the trained one: its channel configuration must describe all changes."""
    example_NCHW = _example(teacher, device)
    again_NK = _load_saved(config, teacher, device)(example_NCHW)
    trained_NK = network.eval()(example_NCHW)
    # Not the same bits: the trained network's weights are channels last in memory, which changes the order of sums.
    if (again_NK - trained_NK).abs().max() > 1e-3 * trained_NK.abs().max():
        (config.out / MODEL_JSON).unlink()
        raise DreamError("the pruned network does not load as it was saved; please report this architecture")


def _example(teacher: Classifier, device: torch.device) -> Tensor:
    """One image of noise, for shapes and costs; scores do not depend on it."""
    size = teacher.preprocessing.image_size
    noise = torch.Generator().manual_seed(0)
    return torch.randn(1, teacher.preprocessing.channels, size, size, generator=noise).to(device)

"""The prune stage: from a teacher and its shards to a narrower network, repaired and saved."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..distill.criterion import Distillation
from ..distill.trainer import train
from ..distill.views import Views
from ..shared.cli.progress import ProgressBar
from ..shared.core.device import cpu_count, make_deterministic, pick_device
from ..shared.core.errors import DreamError
from ..shared.core.launch import require_alone
from ..shared.data.accuracy import top1
from ..shared.data.labelled import open_labelled
from ..shared.models.checkpoints import MODEL_JSON, save_model
from ..shared.models.classifier import Classifier, load_model, reload_model
from ..shared.models.cost import count_macs, num_filters, num_parameters, paired_latency_ms
from ..shared.models.results import ResultFolder
from ..shared.shards.batches import Loader
from ..shared.shards.folder import ShardFolder
from ..shared.shards.loaders import make_loader, resolve_loader
from .config import PruneConfig
from .schedule import prune_filters


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """Before and after: top-1 on the images of ``eval`` (0 to 1, None without any), convolution filters, parameters,
    multiply-adds of one image, milliseconds of one forward of ``latency_batch`` images (medians, measured in turn);
    seconds: of scoring, surgery and training."""

    top1_before: float | None
    top1_after: float | None
    filters_before: int
    filters_after: int
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int
    latency_before_ms: float
    latency_after_ms: float
    seconds: float
    eval: str | None


def run(config: PruneConfig) -> PruneReport:
    """Prune the shards' teacher, repair it by distillation, save and measure it. What is done is not done again.

    Raises:
        ConfigError: the shards, the teacher or the evaluation set cannot be used, or the architecture not be pruned.
        DreamError: the training failed.
    """
    require_alone("di-prune")
    device = pick_device(config.device)
    torch.set_num_threads(cpu_count())
    make_deterministic()
    shards, teacher = _open(config, device)
    images = open_labelled(config.eval, teacher.num_classes) if config.eval else None
    resolve_loader(config.training.loader)
    folder = ResultFolder.open(config, shards.identity, teacher.sha256)
    finished = folder.report()
    if finished is not None and finished["eval"] == config.eval:
        return PruneReport(**finished)
    # Measured first: images that do not fit are better noticed before the work than after.
    top1_before = top1(teacher.network, images, teacher.preprocessing) if images else None
    surgery_seconds = 0.0
    if not folder.has_model():
        surgery_seconds = _make(config, shards, teacher, folder, device)
    pruned = load_model(str(config.out), device=device)
    example_NCHW = _example(teacher, device)
    latency = paired_latency_ms(
        [teacher.network, pruned.network], example_NCHW.expand(config.latency_batch, -1, -1, -1).contiguous()
    )
    report = PruneReport(
        top1_before=top1_before,
        top1_after=top1(pruned.network, images, pruned.preprocessing) if images else None,
        filters_before=num_filters(teacher.network),
        filters_after=num_filters(pruned.network),
        parameters_before=num_parameters(teacher.network),
        parameters_after=num_parameters(pruned.network),
        macs_before=count_macs(teacher.network, example_NCHW),
        macs_after=count_macs(pruned.network, example_NCHW),
        latency_before_ms=round(latency[0], 4),
        latency_after_ms=round(latency[1], 4),
        seconds=round(surgery_seconds + folder.training_seconds(), 3),
        eval=config.eval,
    )
    folder.finish(asdict(report))
    return report


def dry_run(config: PruneConfig) -> dict[str, Any]:
    """What :func:`run` would do: filters to remove, images to score and to train on."""
    shards, teacher = _open(config, pick_device(config.device))
    filters = num_filters(teacher.network)
    steps = shards.num_batches(config.training.batch_size)
    epochs = config.training.passes(steps)
    return {
        "filters": filters,
        "filters_to_remove": round(filters * config.ratio),
        "scorings": config.iterations,
        "images_a_scoring": min(config.score_images, shards.num_samples),
        "epochs": epochs,
        "training_steps": epochs * steps,
    }


def _open(config: PruneConfig, device: torch.device) -> tuple[ShardFolder, Classifier]:
    shards = ShardFolder.open(config.shards)
    teacher = reload_model(shards.manifest.teacher, name=config.teacher, weights=config.weights, device=device)
    return shards, teacher


def _make(
    config: PruneConfig, shards: ShardFolder, teacher: Classifier, folder: ResultFolder, device: torch.device
) -> float:
    """Prune, repair and save; returns the seconds that scoring and surgery took."""
    begun = time.monotonic()
    # Pruning is quick next to the repair, and the same each time, so a run that was killed prunes again and goes on
    # from the repair's checkpoint.
    network = copy.deepcopy(teacher.network).requires_grad_(True)
    example_NCHW = _example(teacher, device)
    batch_size = config.training.batch_size

    def loader() -> Loader:
        kind = config.training.loader
        return make_loader(shards, kind, batch_size=batch_size, shuffle=True, seed=config.seed, device=device)

    scored = list(islice(loader(), -(-config.score_images // batch_size)))  # as bytes, so that they fit in memory

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in scored:
            yield teacher.preprocessing.normalize(batch.images), batch.targets

    with ProgressBar("prune", total=config.iterations, unit="scorings") as bar:
        prune_filters(
            network,
            config.ratio,
            iterations=config.iterations,
            batches=batches,
            example_NCHW=example_NCHW,
            progress=lambda: bar.advance(1, filters=num_filters(network)),
        )
    seconds = time.monotonic() - begun
    network.requires_grad_(True)
    criterion = Distillation.of(config.training, student=network, teacher=teacher.network, example_NCHW=example_NCHW)
    train(
        network,
        loader(),
        criterion,
        views=Views(
            training=config.training,
            preprocessing=teacher.preprocessing,
            relabelled=criterion.teacher is not None,
        ),
        training=config.training,
        example_NCHW=example_NCHW,
        folder=folder,
        seed=config.seed,
        title="repair",
    )
    save_model(
        config.out,
        network,
        architecture=teacher.architecture,
        num_classes=teacher.num_classes,
        class_names=teacher.class_names,
        **teacher.preprocessing.describe(),
    )
    _check_saved(config, network, example_NCHW)
    return seconds


@torch.no_grad()
def _check_saved(config: PruneConfig, network: nn.Module, example_NCHW: Tensor) -> None:
    """What was saved must be what was trained: the channel table has to say all that surgery changed."""
    again_NK = load_model(str(config.out), device=example_NCHW.device).network(example_NCHW)
    trained_NK = network.eval()(example_NCHW)
    # Not the same bits: the trained network's weights lie in another memory order, so sums run in another.
    if (again_NK - trained_NK).abs().max() > 1e-3 * trained_NK.abs().max():
        (config.out / MODEL_JSON).unlink()
        raise DreamError("the pruned network does not load as it was saved; please report this architecture")


def _example(teacher: Classifier, device: torch.device) -> Tensor:
    """One image of noise: it decides shapes and costs, not scores."""
    size = teacher.preprocessing.image_size
    noise = torch.Generator().manual_seed(0)
    return torch.randn(1, teacher.preprocessing.channels, size, size, generator=noise).to(device)

"""The repair of a pruned network: it is trained to compute what its teacher computes."""

from __future__ import annotations

import torch
from torch import nn

from ..distill.criterion import Distillation
from ..distill.effects import without_effect
from ..distill.progress import Measure
from ..distill.step import choose_compiler
from ..distill.trainer import train
from ..shared.cli.effects import warn_of_no_effect
from ..shared.models.classifier import Classifier
from ..shared.models.results import ResultFolder
from ..shared.shards.batches import Loader
from ..shared.shards.folder import ShardFolder
from ..shared.shards.loaders import make_loader
from .config import PruneConfig


def warn_of_repair(config: PruneConfig, teacher: Classifier) -> None:
    """Warn of settings of the training that have no effect."""
    training, network = config.training, teacher.network
    example_NCHW = teacher.preprocessing.blank(1, next(network.parameters()).device)
    criterion = Distillation.of(training, student=network, teacher=network, example_NCHW=example_NCHW)
    views = criterion.views(training, teacher.preprocessing)
    warn_of_no_effect(config, without_effect(training, criterion, views))


def repair(
    config: PruneConfig,
    shards: ShardFolder,
    teacher: Classifier,
    network: nn.Module,
    folder: ResultFolder,
    measure: Measure,
) -> None:
    """Train the narrower network, in place, to compute what its teacher computes.

    Args:
        folder: gets the checkpoints, from which an interrupted training goes on.
        measure: says how good the network is meanwhile.

    Raises:
        DreamError: the loss became NaN or infinite.
    """
    device = next(network.parameters()).device
    training, example_NCHW = config.training, teacher.preprocessing.blank(1, device)
    networks = {"student": network, "teacher": teacher.network, "example_NCHW": example_NCHW}
    images = training.passes(shards.num_batches(training.batch_size)) * shards.num_samples
    compiler = choose_compiler(training, **networks, images=images, title="repair")
    criterion = Distillation.of(training, **networks, compiler=compiler)
    train(
        network,
        make_training_loader(config, shards, device),
        criterion,
        views=criterion.views(training, teacher.preprocessing),
        training=training,
        example_NCHW=example_NCHW,
        folder=folder,
        seed=config.seed,
        title="repair",
        measure=measure,
        compiler=compiler,
    )


def make_training_loader(config: PruneConfig, shards: ShardFolder, device: torch.device) -> Loader:
    """Batches of the shards' images, for scores and for the repair."""
    training = config.training
    return make_loader(
        shards, training.loader, batch_size=training.batch_size, shuffle=True, seed=config.seed, device=device
    )

"""The repair of a pruned network: it is trained to compute what its teacher computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..distill.criterion import Distillation
from ..distill.effects import without_effect
from ..distill.interpolation import FirstWeights
from ..distill.progress import Measure
from ..distill.recipe import Training
from ..distill.step import choose_compiler, images_seen
from ..distill.trainer import train
from ..distill.views import Views
from ..shared.cli.effects import warn_of_no_effect
from ..shared.core.config import settings_of
from ..shared.models.classifier import Classifier
from ..shared.models.compiling import Compiler
from ..shared.models.results import ResultFolder
from ..shared.shards.batches import Loader
from ..shared.shards.folder import ShardFolder
from ..shared.shards.loaders import make_loader
from .config import PruneConfig


def warn_of_repair(config: PruneConfig, teacher: Classifier) -> None:
    """Warn of settings of the training that have no effect."""
    if config.repair == "ls":  # batches are what channels are scored on
        trained = settings_of(Training).keys() - {"batch_size", "loader"}
        warn_of_no_effect(config, dict.fromkeys(sorted(trained), "--repair is ls"))
        return
    criterion, views = _criterion(config, teacher, teacher.network)
    warn_of_no_effect(config, without_effect(config.training, criterion, views, interpolates=True))


def repair(
    config: PruneConfig,
    shards: ShardFolder,
    teacher: Classifier,
    network: nn.Module,
    folder: ResultFolder,
    measure: Measure,
    first_NCHW: Tensor,
) -> None:
    """Train the smaller network, in place, to compute what its teacher computes.

    Args:
        folder: gets the checkpoints, from which an interrupted training goes on.
        measure: says how good the network is meanwhile.
        first_NCHW: network input for which the regressors are fitted before the first step, and the best weights
            between the first and the last are found after the last step.

    Raises:
        DreamError: the loss became NaN or infinite.
    """
    device = next(network.parameters()).device
    example_NCHW = teacher.preprocessing.blank(1, device)
    training = config.training
    images = images_seen(training, shards)
    compiler = choose_compiler(
        training, student=network, teacher=teacher.network, images=images, example_NCHW=example_NCHW, title="repair"
    )
    criterion, views = _criterion(config, teacher, network, compiler, first_NCHW)
    first = FirstWeights(network) if training.interpolates else None
    train(
        network,
        make_training_loader(config, shards, device),
        criterion,
        views=views,
        training=training,
        example_NCHW=example_NCHW,
        folder=folder,
        seed=config.seed,
        title="repair",
        measure=measure,
        compiler=compiler,
        first=first,
    )
    if first is not None:
        first.settle(network, teacher.network, first_NCHW, title="repair")


def _criterion(
    config: PruneConfig,
    teacher: Classifier,
    network: nn.Module,
    compiler: Compiler | None = None,
    first_NCHW: Tensor | None = None,
) -> tuple[Distillation, Views]:
    """The loss of a network that is to compute what the teacher computes, and the views that it is taken on."""
    example_NCHW = teacher.preprocessing.blank(1, next(network.parameters()).device)
    criterion = Distillation.of(
        config.training,
        student=network,
        teacher=teacher.network,
        example_NCHW=example_NCHW,
        compiler=compiler,
        first_NCHW=first_NCHW,
    )
    return criterion, criterion.views(config.training, teacher.preprocessing)


def make_training_loader(config: PruneConfig, shards: ShardFolder, device: torch.device) -> Loader:
    """Batches of the shards' images, for scores and for the repair."""
    training = config.training
    return make_loader(
        shards, training.loader, batch_size=training.batch_size, shuffle=True, seed=config.seed, device=device
    )

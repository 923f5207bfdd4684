"""What ``di-prune`` works on: the shards, their teacher, and what may go of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..distill.networks import load_teacher
from ..distill.scored import scored_batches
from ..shared.core.device import pick_device
from ..shared.models.classifier import Classifier
from ..shared.models.students import check_trainable
from ..shared.shards.folder import ShardFolder
from .config import Budget, PruneConfig
from .patterns import Patterns
from .planning import PruningPlan, plan_pruning
from .repair import make_training_loader
from .units import Latency, Unit, unit_of

FAST = 8, 4, 2, 1  # tensor cores take channels in eights, and vector units do at best; else the nearest to that


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneJob:
    """The inputs of a run.

    Attributes:
        example_NCHW: one image of noise, for shapes and costs; scores do not depend on it.
        clock: of networks and layers, with the latency batch.
        unit: that the budget counts.
    """

    config: PruneConfig
    shards: ShardFolder
    teacher: Classifier
    device: torch.device
    example_NCHW: Tensor
    clock: Latency
    unit: Unit

    @classmethod
    def of(cls, config: PruneConfig, given: Classifier | None = None) -> PruneJob:
        """Open the shards and load their teacher.

        Args:
            given: the teacher in memory, in place of the one that the manifest names.

        Raises:
            ConfigError: either cannot be used.
        """
        device = pick_device(config.device)
        shards = ShardFolder.open(config.shards)
        teacher = load_teacher(config, shards.manifest.teacher, given, device)
        clock = Latency(batch=config.latency_batch, device=device, compiled=config.latency_compile)
        return cls(
            config=config,
            shards=shards,
            teacher=teacher,
            device=device,
            example_NCHW=teacher.preprocessing.noise(device),
            clock=clock,
            unit=unit_of(config.budget, clock),
        )

    def plan(self, budget: Budget | None = None) -> PruningPlan:
        """What may go, for the budget of the configuration or another one of its unit. Refuses what cannot be pruned,
        trained or saved.

        Raises:
            ConfigError: it cannot, or not to this budget.
        """
        return plan_for(self.teacher, self.config, self.example_NCHW, self.unit, budget=budget)

    def batches(self) -> Callable[[], Iterable[tuple[Tensor, Tensor]]]:
        """Gives, at each call, the minibatches to value parts on: network input (N, C, H, W) and targets (N,)."""
        config = self.config
        return scored_batches(
            make_training_loader(config, self.shards, self.device),
            self.teacher.preprocessing,
            images=config.score_images,
            batch_size=config.training.batch_size,
        )


def plan_for(
    teacher: Classifier, config: PruneConfig, example_NCHW: Tensor, unit: Unit, *, budget: Budget | None = None
) -> PruningPlan:
    """What may go of a teacher. It takes no shards, so that a budget can be refused before images are made.

    Args:
        example_NCHW: one image, on the teacher's device.
        budget: in place of the configuration's, of the same unit.

    Raises:
        ConfigError: the network cannot be pruned, trained or saved, or not to this budget.
    """
    check_trainable(teacher.network, teacher.preprocessing, title=teacher.title)
    is_fast_in_eights = example_NCHW.device.type == "cuda" or unit.is_measured
    return plan_pruning(
        teacher.network,
        budget or config.budget,
        example_NCHW=example_NCHW,
        patterns=Patterns(keep=config.keep, only=config.only),
        unit=unit,
        round_to=(config.round_to,) if config.round_to else FAST if is_fast_in_eights else (1,),
    )

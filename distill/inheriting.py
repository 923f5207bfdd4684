"""A student that is a part of its teacher begins with the teacher's weights, where that is wanted."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ..shared.models.classifier import Classifier
from ..shared.models.preprocessing import Preprocessing
from ..shared.shards.folder import ShardFolder
from ..shared.shards.loaders import make_loader
from ..shared.structure.inheritance import Lineage, find_lineage, inherit
from ..shared.structure.targets import FIT_IMAGES
from .config import DistillConfig
from .networks import Student
from .scored import scored_batches


def choose_lineage(config: DistillConfig, student: Student, teacher: Classifier | None) -> Lineage | None:
    """How a student is contained in its teacher; None if it is not, or is not to begin as a part of it.

    A student with weights of its own keeps them, and so does a new one that is as large as its teacher.
    """
    if teacher is None or config.inherit == "off" or config.student is None or student.architecture is None:
        return None
    device = next(teacher.network.parameters()).device
    return find_lineage(teacher.network, student.network, teacher.preprocessing.blank(1, device))


def batches_to_inherit(
    config: DistillConfig, shards: ShardFolder, loader: str, device: torch.device
) -> Callable[[], Iterable[tuple[Tensor, Tensor]]]:
    """The batches that a student is fitted on before its training, the same in all processes."""
    size = config.training.batch_size
    batches = make_loader(shards, loader, batch_size=size, shuffle=True, seed=config.seed, device=device)
    return scored_batches(batches, Preprocessing.of(shards.manifest.teacher), images=FIT_IMAGES, batch_size=size)


def give_weights(
    student: nn.Module,
    teacher: Classifier,
    lineage: Lineage,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
) -> None:
    """Let a student begin as a part of its teacher, in place, and say so."""
    started = time.monotonic()
    device = next(student.parameters()).device
    inherit(student, teacher.network, lineage, batches, teacher.preprocessing.blank(1, device))
    blocks = len(lineage.dropped)
    what = f"without {blocks} of its blocks" if blocks else "with fewer channels"
    seconds = time.monotonic() - started
    print(f"distill: the student begins as its teacher {what}, fitted in {seconds:.0f} s", file=sys.stderr)

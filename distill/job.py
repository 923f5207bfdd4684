"""What ``di-distill`` works on: the shards, their teacher, and the student at its start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor, nn

from ..shared.models.classifier import Classifier
from ..shared.models.preprocessing import Preprocessing
from ..shared.shards.folder import ShardFolder
from ..shared.structure.inheritance import Lineage
from .config import DistillConfig
from .distributed import Group
from .inheriting import choose_lineage
from .networks import Student
from .recipe import Training


class Networks(TypedDict):
    """The networks of a training, and one image for them."""

    student: nn.Module
    teacher: nn.Module | None
    example_NCHW: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DistillJob:
    """The inputs of a run, in each of its processes.

    Attributes:
        teacher: None if it does not load: the stored logits are the labels then.
        lineage: how the student is contained in its teacher; None if it does not begin as a part of it.
        loader: the name of what reads the shards.
    """

    config: DistillConfig
    shards: ShardFolder
    teacher: Classifier | None
    student: Student
    lineage: Lineage | None
    loader: str
    group: Group
    device: torch.device

    @classmethod
    def of(
        cls,
        config: DistillConfig,
        shards: ShardFolder,
        teacher: Classifier | None,
        student: Student,
        *,
        loader: str,
        group: Group,
        device: torch.device,
    ) -> DistillJob:
        """The job of a student that was started, which is moved to the device."""
        student.network.to(device)
        return cls(
            config=config,
            shards=shards,
            teacher=teacher,
            student=student,
            lineage=choose_lineage(config, student, teacher),
            loader=loader,
            group=group,
            device=device,
        )

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing.of(self.shards.manifest.teacher)

    @property
    def example_NCHW(self) -> Tensor:
        """One black image."""
        return self.preprocessing.blank(1).to(next(self.student.network.parameters()))

    @property
    def networks(self) -> Networks:
        """What the criterion and the compiler of the training take."""
        teacher = self.teacher.network if self.teacher else None
        return {"student": self.student.network, "teacher": teacher, "example_NCHW": self.example_NCHW}

    @property
    def begins_trained(self) -> bool:
        """Whether the student begins with weights that were trained."""
        return self.lineage is not None or self.student.is_trained

    @property
    def keeps_start(self) -> bool:
        """Whether the training holds on to the student's first weights: they were trained, and there is a teacher to
        compare them with. Regressors are fitted to them, and the student may go a part of the way back to them."""
        return self.teacher is not None and self.begins_trained

    @property
    def training(self) -> Training:
        return self.config.training_of(trained=self.begins_trained)

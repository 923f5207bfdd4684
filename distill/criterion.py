"""Criteria: the protocol of an objective to train for, and knowledge distillation, the one implementation."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..shared.core.numerics import at_least_float32
from ..shared.models.compiling import Compiler
from ..shared.models.layout import common_layout
from ..shared.models.preprocessing import Preprocessing
from .distributed import ALONE, Group
from .features import FeaturePair, StudentWithRegressors, find_feature_maps, match_feature_maps
from .labeller import Labeller, soften
from .recipe import Training
from .views import View, Views


class Criterion(Protocol):
    """The objective of a training. A subclass must define :meth:`targets` and :meth:`__call__`; the rest has defaults.

    Several processes, and a compiler, may come between the two: see :class:`~.step.Step`.
    """

    def wrap(self, student: nn.Module) -> nn.Module:
        """The module to train: the student, and whatever else this criterion trains with it.

        Its forward takes network input (N, C, H, W) and returns a tensor or a tuple of tensors. Its whole state goes
        into the checkpoint. The trainer calls this once, on the device to train on, with torch's generators seeded.
        """
        return student

    def release(self, network: nn.Module) -> None:
        """Undo what :meth:`wrap` did to the student, after the training."""

    @abstractmethod
    def targets(self, view: View) -> tuple[Tensor, ...]:
        """What the outputs are compared with, for this process's images of the batch. No gradient is taken of it."""
        ...

    def parts(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The parts of the loss by name, for people to see. Their sum is the loss, which the trainer minimises."""
        return {"loss": self(outputs, targets)}

    @abstractmethod
    def __call__(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """The loss, a scalar: the mean over the images.

        Args:
            outputs: of the wrapped module, as a tuple. Every one must enter the loss: several processes wait for the
                gradients of all parameters.
            targets: of the same images, from :meth:`targets`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Distillation(Criterion):
    """Soft labels at a temperature (Hinton et al. 2015), and feature distillation (Romero et al. 2015).

    The loss is ``T^2 KL(p_teacher || p_student)``, plus ``feature_weight`` times the mean of :func:`feature_loss` over
    the pairs of feature maps.

    Args:
        teacher: labels every view. None takes the stored logits, and needs views that have labels.
        pairs: the feature maps that the student predicts; none without a teacher.
        group: the processes that train together.
        layout: of the views in memory, which teacher and student take.
        first_NCHW: network input for which regressors are fitted before the first step: a student that begins with
            trained weights would lose them to regressors that know nothing yet. None lets them begin anew.
    """

    teacher: Labeller | None
    temperature: float
    feature_weight: float = 0.0
    pairs: Sequence[FeaturePair] = ()
    group: Group = ALONE
    layout: torch.memory_format = torch.channels_last
    first_NCHW: Tensor | None = None

    @classmethod
    def of(
        cls,
        training: Training,
        *,
        student: nn.Module,
        teacher: nn.Module | None,
        example_NCHW: Tensor,
        group: Group = ALONE,
        compiler: Compiler | None = None,
        first_NCHW: Tensor | None = None,
    ) -> Distillation:
        """By the settings of ``training``: temperature, feature_weight, labels.

        Args:
            teacher: in eval mode, and left as it is. None if there is none, so that the labels are the stored ones.
            example_NCHW: any network input, on the device of student and teacher.
            compiler: of the teacher's forward pass; None runs it eager.
            first_NCHW: see the class.
        """
        if training.labels == "stored":
            teacher = None
        layout = common_layout([student] if teacher is None else [student, teacher], example_NCHW)
        pairs: Sequence[FeaturePair] = ()
        if teacher is not None and training.feature_weight:
            pairs = match_feature_maps(*(find_feature_maps(each, example_NCHW) for each in (student, teacher)))
        labeller: Labeller | None = None
        if teacher is not None:
            labeller = Labeller(
                teacher,
                [pair.teacher for pair in pairs],
                temperature=training.temperature,
                example_NCHW=example_NCHW,
                compiler=compiler,
            )
        return cls(
            teacher=labeller,
            temperature=training.temperature,
            feature_weight=training.feature_weight,
            pairs=pairs,
            group=group,
            layout=layout,
            first_NCHW=first_NCHW,
        )

    def views(self, training: Training, preprocessing: Preprocessing) -> Views:
        """Views by the settings of ``training`` that have the labels which this criterion needs."""
        return Views(
            training=training,
            preprocessing=preprocessing,
            relabelled=self.teacher is not None,
            place=self.group.place,
            layout=self.layout,
        )

    def wrap(self, student: nn.Module) -> nn.Module:
        network = StudentWithRegressors(student, self.pairs)
        if self.first_NCHW is not None and self.teacher is not None and self.pairs:
            network.fit(self.first_NCHW, self.teacher.features(self.first_NCHW))
        return network

    def release(self, network: nn.Module) -> None:
        assert isinstance(network, StudentWithRegressors)
        network.release()

    def targets(self, view: View) -> tuple[Tensor, ...]:
        """Soft labels (N, K); with a teacher also the mean squares of its feature maps over the whole batch, one for
        each pair, and the maps, (N, C, side, side) each."""
        if self.teacher is None:
            return (view.labels(soften(view.batch.logits, self.temperature)),)
        soft_labels_NK, mean_squares, *features = self.teacher(view.x_NCHW)
        return soft_labels_NK, self.group.mean(view.weight * mean_squares), *features

    def __call__(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        return total(self.parts(outputs, targets))

    def parts(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``logits``, and ``features`` if there are pairs."""
        (logits_NK, *predictions), (soft_labels_NK, *wanted) = outputs, targets
        loss = distillation_loss(logits_NK, soft_labels_NK, self.temperature)
        if not self.pairs:
            return {"logits": loss}
        mean_squares, *features = wanted
        each = zip(predictions, features, mean_squares.unbind(), strict=True)
        distance = torch.stack([feature_loss(*one) for one in each]).mean()
        return {"logits": loss, "features": self.feature_weight * distance}


def total(parts: dict[str, Tensor]) -> Tensor:
    """The loss that has these parts."""
    return functools.reduce(torch.add, parts.values())


def distillation_loss(student_NK: Tensor, soft_labels_NK: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(p_teacher || p_student)``, mean over images (Hinton et al. 2015).

    Args:
        student_NK: the student's logits.
        soft_labels_NK: the teacher's probabilities, softened at the same temperature (:func:`soften`).
    """
    log_student = F.log_softmax(at_least_float32(student_NK) / temperature, dim=1)
    return temperature**2 * F.kl_div(log_student, soft_labels_NK, reduction="batchmean")


def feature_loss(prediction_NCHW: Tensor, feature_NCHW: Tensor, mean_square: Tensor) -> Tensor:
    """``mean((prediction - feature / sqrt(mean_square))^2)``: 1 where all predictions are 0, so one weight suits layers
    of any scale.

    Args:
        prediction_NCHW: from the student, in units of the feature's root mean square.
        feature_NCHW: the teacher's feature map.
        mean_square: of the feature over the whole batch, a scalar.
    """
    scale = mean_square.clamp_min(1e-6).sqrt()  # a layer whose outputs are all 0 must not divide by 0
    return (at_least_float32(prediction_NCHW) - at_least_float32(feature_NCHW) / scale).square().mean()

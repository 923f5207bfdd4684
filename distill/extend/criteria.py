"""Losses for new classes: three published ones, of which ABD's is the default, and plain cross-entropy.

Batches hold synthetic images of the old classes and real images of the new ones (:mod:`.batches`); N images, K old
classes, J classes in all. "Old" is the frozen teacher, which knows the K old classes alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...shared.core.numerics import at_least_float32, autocast
from ..criterion import Criterion
from ..views import View
from .tapped import WithFeatures

ABD_FEATURES = 0.1  # weight of ABD's distance of features


@dataclass(frozen=True, slots=True, kw_only=True)
class JointCrossEntropy(Criterion):
    """``-log p_y`` over all classes, mean over the images. The label of a synthetic image is the teacher's answer."""

    def targets(self, view: View) -> tuple[Tensor, ...]:
        return (view.batch.targets,)

    def __call__(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        (logits_NJ,), (targets_N,) = outputs, targets
        return F.cross_entropy(at_least_float32(logits_NJ), targets_N)


@dataclass(frozen=True, slots=True, kw_only=True)
class _WithOld(Criterion):
    """What the published losses share: the old network answers for every view.

    Args:
        old: the frozen teacher, in eval mode.
    """

    old: nn.Module
    num_old: int
    num_classes: int

    def _old_logits(self, view: View) -> Tensor:
        with autocast(view.x_NCHW):
            return at_least_float32(self.old(view.x_NCHW))


@dataclass(frozen=True, slots=True, kw_only=True)
class LwFMC(_WithOld):
    """LwF.MC (Rebuffi et al. 2017): ``sum_j BCE(sigmoid(z_j), y_j)``, mean over the images.

    y holds the sigmoids of the old network's logits for the old classes, and one-hot labels for the new ones: zeros for
    a synthetic image.
    """

    def targets(self, view: View) -> tuple[Tensor, ...]:
        old_NK = torch.sigmoid(self._old_logits(view))
        new_NJ = F.one_hot(view.batch.targets, self.num_classes).to(old_NK.dtype)
        return (torch.cat([old_NK, new_NJ[:, self.num_old :]], dim=1),)

    def __call__(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        (logits_NJ,), (labels_NJ,) = outputs, targets
        bce_NJ = F.binary_cross_entropy_with_logits(at_least_float32(logits_NJ), labels_NJ, reduction="none")
        return bce_NJ.sum(1).mean()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepInversionLoss(_WithOld):
    """The loss of Yin et al. 2020, section 4.5, each part a mean over its images:

    ``KL(p_old || p)`` of synthetic images over all classes, in which p_old has no new ones, plus the cross-entropy of
    new images over all classes, plus ``KL(p_old || p)`` of new images over the old classes' logits alone.
    """

    def targets(self, view: View) -> tuple[Tensor, ...]:
        targets_N = view.batch.targets
        return F.log_softmax(self._old_logits(view), dim=1), targets_N, targets_N >= self.num_old

    def parts(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``synthetic``, ``new`` and ``kept``, in this order."""
        (logits_NJ,), (log_old_NK, targets_N, is_new_N) = outputs, targets
        z_NJ = at_least_float32(logits_NJ)
        log_NJ, kept_NK = F.log_softmax(z_NJ, dim=1), F.log_softmax(z_NJ[:, : self.num_old], dim=1)
        return {
            "synthetic": mean_over(_kl(log_old_NK, log_NJ[:, : self.num_old]), ~is_new_N),
            "new": mean_over(F.nll_loss(log_NJ, targets_N, reduction="none"), is_new_N),
            "kept": mean_over(_kl(log_old_NK, kept_NK), is_new_N),
        }

    def __call__(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        return torch.stack(list(self.parts(outputs, targets).values())).sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class ABD(_WithOld):
    """The loss of Always Be Dreaming (Smith et al. 2021), with the old network's answers as labels.

    The cross-entropy of new images over the new classes' logits alone, plus the cross-entropy of all images over all
    classes, in which the features get no gradient and each class counts alike, plus ``0.1 ||W_old (f - f_old)||^2``,
    mean over the images: f is the input of the head, and W_old the old head's weight. The label of a synthetic image is
    p_old, the old network's answer for the very view, which may be mixed; the paper's is the class with the largest.

    Args:
        head: name of the last layer, a linear one whose outputs are the logits.
        class_weights_J: of the second part: the inverse of each class's share of the batches, mean 1 over the images.
    """

    head: str
    class_weights_J: Tensor

    def wrap(self, student: nn.Module) -> nn.Module:
        return WithFeatures(student, self.head)

    def release(self, network: nn.Module) -> None:
        assert isinstance(network, WithFeatures)
        network.release()

    def targets(self, view: View) -> tuple[Tensor, ...]:
        tapped = WithFeatures(self.old, self.head)
        with autocast(view.x_NCHW):
            old_NK, old_ND, _ = (at_least_float32(each) for each in tapped(view.x_NCHW))
        tapped.release()
        targets_N = view.batch.targets
        is_new_N = targets_N >= self.num_old
        answers_NJ = F.pad(F.softmax(old_NK, dim=1), (0, self.num_classes - self.num_old))
        one_hot_NJ = F.one_hot(targets_N, self.num_classes).to(answers_NJ.dtype)
        return old_ND, torch.where(is_new_N[:, None], one_hot_NJ, answers_NJ), targets_N, is_new_N

    def parts(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``new``, ``head`` and ``features``, in this order."""
        (logits_NJ, features_ND, detached_NJ), (old_ND, labels_NJ, targets_N, is_new_N) = outputs, targets
        # The labels of synthetic images are none of the new ones: any will do, since they do not count.
        own_N = (targets_N - self.num_old).clamp_min(0)
        new_N = F.cross_entropy(at_least_float32(logits_NJ)[:, self.num_old :], own_N, reduction="none")
        head_N = F.cross_entropy(at_least_float32(detached_NJ), labels_NJ, reduction="none")
        weight_N = labels_NJ @ self.class_weights_J.to(labels_NJ)
        weight_KD = self.old.get_submodule(self.head).weight
        moved_NK = F.linear(at_least_float32(features_ND) - old_ND, at_least_float32(weight_KD))  # type: ignore[arg-type]
        return {
            "new": mean_over(new_N, is_new_N),
            "head": (weight_N * head_N).mean(),
            "features": ABD_FEATURES * moved_NK.square().sum(1).mean(),
        }

    def __call__(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        return torch.stack(list(self.parts(outputs, targets).values())).sum()


def mean_over(values_N: Tensor, chosen_N: Tensor) -> Tensor:
    """The mean of the chosen values; 0 where none is chosen, with a gradient of 0."""
    return (values_N * chosen_N).sum() / chosen_N.sum().clamp_min(1)


def balanced_weights(synthetic_K: Tensor, new_L: Tensor, share: float) -> Tensor:
    """Weights (J,) with which each class counts alike in batches of a share of new images; their mean over the images
    is 1.

    Args:
        synthetic_K, new_L: how many images there are of each old and of each new class. A class without any gets 0.
        share: of a batch that is new images, 0 to 1.
    """
    shares_J = torch.cat([(1 - share) * synthetic_K / synthetic_K.sum().clamp_min(1), share * new_L / new_L.sum()])
    return torch.where(shares_J > 0, 1 / (shares_J.clamp_min(1e-12) * (shares_J > 0).sum()), 0.0)


def _kl(log_old_NK: Tensor, log_NK: Tensor) -> Tensor:
    """``sum_k p_old (log p_old - log p)`` of each image, (N,)."""
    return (log_old_NK.exp() * (log_old_NK - log_NK)).sum(1)

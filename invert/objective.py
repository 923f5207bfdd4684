"""The objective of inversion, term by term (Yin et al., CVPR 2020, equations 2 to 8).

    DeepDream      CE + alpha_tv R_TV + alpha_l2 R_l2
    DeepInversion  ... + alpha_feature R_feature
    ADI            ... + alpha_compete R_compete
    natural        ... + alpha_similar R_similar

Every term is a mean over images, so no weight depends on the batch size. R_feature is a prior (see :mod:`.priors`); the
other terms are here. Shapes: x (N, C, H, W), logits (N, K).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..shared.core.numerics import at_least_float32
from .priors import make_priors
from .recipe import Recipe
from .taps import TappedNetwork


def total_variation(x_NCHW: Tensor) -> Tensor:
    """R_TV: L2 norms of the differences to the right, lower and both diagonal neighbours; sum per image, then mean."""
    differences = (
        x_NCHW[:, :, :, 1:] - x_NCHW[:, :, :, :-1],
        x_NCHW[:, :, 1:, :] - x_NCHW[:, :, :-1, :],
        x_NCHW[:, :, 1:, 1:] - x_NCHW[:, :, :-1, :-1],
        x_NCHW[:, :, 1:, :-1] - x_NCHW[:, :, :-1, 1:],
    )
    return torch.stack([torch.linalg.vector_norm(d, dim=(1, 2, 3)) for d in differences]).sum(0).mean()


def l2_norm(x_NCHW: Tensor) -> Tensor:
    """R_l2: the L2 norm of each image, averaged."""
    return torch.linalg.vector_norm(x_NCHW, dim=(1, 2, 3)).mean()


def competition(teacher_NK: Tensor, student_NK: Tensor, temperature: float) -> Tensor:
    """R_compete: 1 - JS(p_T, p_S) / ln 2, averaged: 0 where teacher and student disagree entirely, 1 where they agree.

    JS is the Jensen-Shannon divergence of the softmax at ``temperature``, in natural logarithms, so it is at most ln 2.
    The released code exchanges the arguments of the KL divergences and clamps probabilities at 0.01, which leaves no
    gradient with many classes; log-softmax needs no clamp.
    """
    log_t = F.log_softmax(at_least_float32(teacher_NK) / temperature, dim=1)
    log_s = F.log_softmax(at_least_float32(student_NK) / temperature, dim=1)
    log_m = torch.logaddexp(log_t, log_s) - math.log(2)
    js_N = 0.5 * (log_t.exp() * (log_t - log_m) + log_s.exp() * (log_s - log_m)).sum(1)
    return 1 - js_N.mean() / math.log(2)


def similarity(features_ND: Tensor, targets_N: Tensor) -> Tensor:
    """R_similar: the cosine of the features of two images of one class, averaged over all such pairs, -1 to 1.

    It is 0 where no two images are of one class.
    """
    unit_ND = F.normalize(at_least_float32(features_ND), dim=1)
    alike_NN = (targets_N[:, None] == targets_N).to(unit_ND.dtype).fill_diagonal_(0)
    return (alike_NN * (unit_ND @ unit_ND.T)).sum() / alike_NN.sum().clamp(min=1)


class Objective:
    """The weighted sum of a recipe's terms. Terms of weight 0 are not computed.

    Args:
        network: the frozen teacher, which is left as it is.
        student: for ``alpha_compete``; frozen too.
        precision: with ``bfloat16``, the networks run in that format (autocast); statistics, losses and images stay
            float32.
    """

    def __init__(
        self, recipe: Recipe, network: nn.Module, *, student: nn.Module | None = None, precision: str = "float32"
    ) -> None:
        self.recipe = recipe
        self.network = TappedNetwork(network, make_priors(recipe))
        self.student = student if recipe.alpha_compete else None
        self.precision = precision

    def __call__(self, x_NCHW: Tensor, view_NCHW: Tensor, targets_N: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its unweighted terms, all scalars, by name.

        Args:
            x_NCHW: the images, for the terms that need no network.
            view_NCHW: the same images shifted and flipped, for the networks.
            targets_N: the class that each image is to show.
        """
        recipe = self.recipe
        with torch.autocast(x_NCHW.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            logits_NK, features_ND, prior_terms = self.network(view_NCHW)
            student_NK = self.student(view_NCHW) if self.student is not None else None
        terms: dict[str, Tensor] = {}
        if recipe.alpha_class:
            terms["class"] = F.cross_entropy(at_least_float32(logits_NK), targets_N)
        if recipe.alpha_tv:
            terms["tv"] = total_variation(x_NCHW)
        if recipe.alpha_l2:
            terms["l2"] = l2_norm(x_NCHW)
        terms.update(prior_terms)  # |= is not known to the compiler of torch 2.6
        if recipe.alpha_similar:
            terms["similar"] = similarity(features_ND, targets_N)
        if student_NK is not None:
            terms["compete"] = competition(logits_NK, student_NK, recipe.compete_temperature)
        loss = torch.stack([getattr(recipe, f"alpha_{name}") * term for name, term in terms.items()]).sum()
        return loss, terms

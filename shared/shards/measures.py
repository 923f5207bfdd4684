"""Measures of a set of images: what the teacher and an independent network compute for them.

torchmetrics calculates the Fréchet distance.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..models.classifier import Classifier
from ..models.features import FeatureCollector, Features


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The measures of one set of images. A measure is None if the network that it needs is missing.

    Attributes:
        images: number of images.
        agreement: share of images that the teacher assigns to their class, 0 to 1.
        confidence: the teacher's highest probability, mean over images, 0 to 1.
        verifier_agreement: share of images that the verifier, an independent network, assigns to their class, 0 to 1.
        diversity: see :func:`diversity`, 0 to 2.
        statistics_distance: R_feature of the whole set to the teacher's BatchNorm statistics, 0 or more.
    """

    images: int
    agreement: float
    confidence: float
    verifier_agreement: float | None
    diversity: float
    statistics_distance: float | None


def measure(
    batches: Iterator[tuple[Tensor, Tensor]], teacher: Classifier, verifier: Classifier | None
) -> tuple[Measures, Tensor]:
    """Measure a set of images.

    Args:
        batches: uint8 images (N, C, H, W) and their classes (N,); one image or more.
        verifier: takes the same images; the features are those of the verifier if there is one, else the teacher's.

    Returns:
        The measures, and the features (N, D) of all images.
    """
    targets: list[Tensor] = []
    with contextlib.ExitStack() as stack:
        models = [model for model in (teacher, verifier) if model is not None]
        collectors = [
            stack.enter_context(FeatureCollector(model.network, statistics=model is teacher)) for model in models
        ]
        device = next(teacher.network.parameters()).device
        for pixels_NCHW, targets_N in batches:
            targets.append(targets_N.cpu())
            for model, collector in zip(models, collectors, strict=True):
                collector.add(model.preprocessing.normalize(pixels_NCHW.to(device)))
    targets_N = torch.cat(targets)
    by_teacher, *by_verifier = (collector.features() for collector in collectors)
    features_ND = (by_verifier[0] if by_verifier else by_teacher).features
    measures = Measures(
        images=len(targets_N),
        agreement=_agreement(by_teacher, targets_N),
        confidence=float(by_teacher.logits.softmax(1).amax(1).mean()),
        verifier_agreement=_agreement(by_verifier[0], targets_N) if by_verifier else None,
        diversity=diversity(features_ND, targets_N),
        statistics_distance=by_teacher.statistics_distance,
    )
    return measures, features_ND


def diversity(features_ND: Tensor, targets_N: Tensor) -> float:
    """1 - cosine of the features of two images of one class: mean over the pairs of each class, then over classes.

    Classes without a pair do not count; 0 if no class has one.
    """
    unit_ND = torch.nn.functional.normalize(features_ND.double(), dim=1)
    values: list[float] = []
    for target in targets_N.unique():
        own_MD = unit_ND[targets_N == target]
        count = len(own_MD)
        if count > 1:
            # The dot products of all pairs add up to the squared length of the sum of all vectors.
            values.append(float(1 - (own_MD.sum(0).square().sum() - count) / (count * (count - 1))))
    return sum(values) / len(values) if values else 0.0


def frechet_distance(features_ND: Tensor, others_MD: Tensor) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of two sets of features (Heusel et al. 2017).

    Raises:
        ConfigError: torchmetrics is not installed, or a set has a single image.
    """
    if min(len(features_ND), len(others_MD)) < 2:
        raise ConfigError("--real compares sets of two images or more: pass a larger set, or leave it out")
    metric_class = require_torchmetrics()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric: Any = metric_class(feature=_Identity(features_ND.shape[1]))
    metric.set_dtype(torch.float64)
    for features, real in ((features_ND, False), (others_MD, True)):
        metric.update(features.double(), real=real)
    return float(metric.compute())


def require_torchmetrics() -> Any:
    """torchmetrics' class of the Fréchet distance.

    Raises:
        ConfigError: torchmetrics is not installed.
    """
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
    except ImportError as error:
        raise ConfigError("--real needs torchmetrics: pip install 'dreamdistill[score]'") from error
    return FrechetInceptionDistance


class _Identity(nn.Module):
    """Replaces torchmetrics' own network, whose weights would be downloaded: the input is features already."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features_ND: Tensor) -> Tensor:
        return features_ND


def _agreement(found: Features, targets_N: Tensor) -> float:
    return float((found.logits.argmax(1) == targets_N).double().mean())

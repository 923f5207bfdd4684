"""What is wrong with a trained classifier, found before any work: in its tensors, and in its logits of the probes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .classifier import Classifier
from .loading import NO_WEIGHTS, batchnorm_layers

LARGEST_LOGIT = torch.finfo(torch.float16).max  # logits are stored as float16
PROBABILITIES_WITHIN = 1e-3  # of a sum of 1: the logits are kept with six digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What was found, each in one sentence.

    Attributes:
        errors: with these, images of the classifier cannot mean anything.
        warnings: these may be meant, and seldom are.
    """

    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def examine(classifier: Classifier) -> Health:
    """Look for what makes a classifier useless to invert. Costs a few forward passes of one image.

    Errors are: tensors with NaN or infinity; variances of BatchNorm that no training leaves behind (negative, or 0 in
    every channel of a layer); a single class; logits that float16 cannot hold. Warnings are: outputs that are
    probabilities, or the same for all images; BatchNorm layers that have seen no batch, unless the weights are meant to
    be random. A user's network that comes untrained is refused when it is loaded (:mod:`.loading`).

    Raises:
        ConfigError: its logits are no finite numbers, or not the same each time, and its tensors do not tell why.
    """
    errors = [*_damaged_tensors(classifier.network), *_impossible_statistics(classifier.network)]
    warnings: list[str] = []
    layers = batchnorm_layers(classifier.network)
    unseen = [name for name, is_new in layers.items() if is_new]
    if unseen and classifier.weights != NO_WEIGHTS:
        warnings.append(
            f"{len(unseen)} of {len(layers)} BatchNorm layers, {unseen[0]} first, have seen no batch: they still hold"
            " the mean 0 and the variance 1 of a new layer"
        )
    if classifier.num_classes == 1:
        errors.append(
            "it has one class, so there is nothing to tell apart; give a network with an output for each class"
        )
    if not errors:
        logits_NK = torch.tensor(classifier.probe_logits, dtype=torch.float64)
        errors += _too_large(logits_NK)
        warnings += _suspicious(logits_NK)
    return Health(errors=tuple(errors), warnings=tuple(warnings))


def _damaged_tensors(network: nn.Module) -> Iterator[str]:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not _is_finite(tensor):
            yield f"{name} holds NaN or infinity; give weights that are whole, of a training that did not diverge"
            return


def _is_finite(tensor: torch.Tensor) -> bool:
    """Whether all values are. A finite sum tells it far sooner; a sum that is not may have overflowed."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _impossible_statistics(network: nn.Module) -> Iterator[str]:
    for name, layer in network.named_modules():
        if isinstance(layer, _BatchNorm) and layer.running_var is not None:
            title = _title(name, layer)
            if bool((layer.running_var < 0).any()):
                yield f"the running variance of {title} is negative, which no training leaves behind; check the weights"
                return
            if bool((layer.running_var == 0).all()):
                yield (
                    f"the running variance of {title} is 0 in every channel, so the layer before it gives the same for"
                    " all images; check the weights, and the training that made them"
                )
                return


def _title(name: str, layer: nn.Module) -> str:
    return f"layer {name}" if name else f"the {type(layer).__name__}"


def _too_large(logits_NK: torch.Tensor) -> Iterator[str]:
    largest = float(logits_NK.abs().max())
    if largest > LARGEST_LOGIT:
        yield (
            f"its logits for images of noise reach {largest:.3g}, and {LARGEST_LOGIT:,.0f} is the largest that float16,"
            " as which they are stored, can hold; check its weights, --mean and --std, or divide its logits"
        )


def _suspicious(logits_NK: torch.Tensor) -> Iterator[str]:
    within = bool((logits_NK >= 0).all()) and bool((logits_NK <= 1).all())
    if within and bool(((logits_NK.sum(1) - 1).abs() < PROBABILITIES_WITHIN).all()):
        yield (
            "its outputs are probabilities, not logits: the gradient of their softmax is too weak to make images; give"
            " the network without its last softmax"
        )
    elif bool((logits_NK == logits_NK[0]).all()):
        yield "it gives the same logits for every image of noise; check its weights, --mean and --std"
    elif within:
        yield "its outputs all lie in 0..1, as those of a sigmoid do; give the network without it, for logits"

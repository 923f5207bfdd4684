"""The published step, written plainly, with everything that makes it slow: a reference for speed and for values."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamdistill.invert.recipe import Recipe
from dreamdistill.shared.models.classifier import Classifier
from dreamdistill.shared.models.features import batchnorm_layers


def published_network(network: nn.Module) -> tuple[nn.Module, list[Tensor]]:
    """A contiguous NCHW copy whose weights require gradients, and the list that a forward pass fills with distances."""
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format).requires_grad_()
    distances: list[Tensor] = []

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer.running_mean, Tensor)
        assert isinstance(layer.running_var, Tensor)
        x = inputs[0].float()
        mean_C = x.mean((0, 2, 3))
        var_C = x.permute(1, 0, 2, 3).contiguous().view(x.shape[1], -1).var(1, correction=0)
        distances.append((layer.running_var - var_C).norm(2) + (layer.running_mean - mean_C).norm(2))

    for layer in batchnorm_layers(network):
        layer.register_forward_hook(hook)
    return network, distances


def published_loss(
    recipe: Recipe, network: nn.Module, distances: list[Tensor], x: Tensor, view: Tensor, targets_N: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The published loss, with the terms and weights of our objective, so that the two can be compared term by term."""
    distances.clear()
    terms = {"class": F.cross_entropy(network(view), targets_N)}
    steps = (
        x[:, :, :, :-1] - x[:, :, :, 1:],
        x[:, :, :-1, :] - x[:, :, 1:, :],
        x[:, :, :-1, :-1] - x[:, :, 1:, 1:],
        x[:, :, 1:, :-1] - x[:, :, :-1, 1:],
    )
    terms["tv"] = sum((step.flatten(1).norm(2, dim=1) for step in steps), torch.zeros(())).mean()
    terms["l2"] = x.flatten(1).norm(2, dim=1).mean()
    terms["feature"] = sum(distances[1:], recipe.first_bn * distances[0])
    loss = sum((getattr(recipe, f"alpha_{name}") * term for name, term in terms.items()), torch.zeros(()))
    return loss, terms


def published_step(teacher: Classifier, recipe: Recipe, x: Tensor) -> Callable[[], None]:
    """A function that makes ``recipe.steps`` steps: shift, loss, gradient of images and weights, Adam, loss read."""
    network, distances = published_network(teacher.network)
    targets_N = torch.arange(len(x), device=x.device) % teacher.num_classes
    x = x.detach().clone().contiguous().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=recipe.lr, betas=(recipe.betas[0], recipe.betas[1]))
    jitter = recipe.jitter or 0

    def run() -> None:
        for _ in range(recipe.steps[0]):
            shift = torch.randint(-jitter, jitter + 1, (2,)).tolist()
            optimizer.zero_grad()
            network.zero_grad()
            loss, _ = published_loss(recipe, network, distances, x, x.roll(shift, (2, 3)), targets_N)
            loss.backward()
            optimizer.step()
            loss.item()

    return run

"""A network with taps: one forward pass gives the logits, the last features, and the terms of the priors."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from torch import Tensor, nn

from ..shared.models.features import last_linear
from .priors import Prior


class TappedOutputs(NamedTuple):
    """What one forward pass gives.

    Attributes:
        logits_NK: the network's output.
        features_ND: the input of its classifier, the last linear layer; without one, the logits.
        terms: name -> unweighted term of each prior, a scalar.
    """

    logits_NK: Tensor
    features_ND: Tensor
    terms: dict[str, Tensor]


class Tap(nn.Module):
    """Stands in the place of a layer: it measures the layer's input, then runs the layer.

    Attributes:
        measures: modules that measure the input.
        results: a list for each of them, to which it appends what it measured.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.measures = nn.ModuleList()
        self.results: list[list[Tensor]] = []

    def add(self, measure: nn.Module, results: list[Tensor]) -> None:
        self.measures.append(measure)
        self.results.append(results)

    def forward(self, x: Tensor) -> Tensor:
        for measure, results in zip(self.measures, self.results, strict=True):
            results.append(measure(x))
        return self.layer(x)


class TappedNetwork(nn.Module):
    """A network that also returns its last features and the terms of ``priors``.

    Taps are modules in place of layers, not hooks, so that ``torch.compile`` makes one graph of the whole. The given
    network is left as it is; this one shares its parameters and buffers. Two threads must not call it at once.

    Args:
        network: in eval mode.
    """

    def __init__(self, network: nn.Module, priors: Sequence[Prior] = ()) -> None:
        super().__init__()
        tensors = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
        self.network = copy.deepcopy(network, tensors)
        self.priors = tuple(priors)
        self._features: list[Tensor] = []
        self._measured: list[list[Tensor]] = [[] for _ in self.priors]
        taps: dict[int, Tap] = {}
        for prior, measured in zip(self.priors, self._measured, strict=True):
            for layer in prior.layers(self.network):
                taps.setdefault(id(layer), Tap(layer)).add(prior.measure(layer), measured)
        last = last_linear(self.network)
        if last is not None:
            taps.setdefault(id(last), Tap(last)).add(nn.Identity(), self._features)
        for module in list(self.network.modules()):
            for name, child in list(module.named_children()):
                if id(child) in taps:
                    setattr(module, name, taps[id(child)])

    def forward(self, x_NCHW: Tensor) -> TappedOutputs:
        self._clear()
        logits_NK = self.network(x_NCHW)
        features_ND = self._features[-1].flatten(1) if self._features else logits_NK
        terms = {prior.name: prior.term(measured) for prior, measured in zip(self.priors, self._measured, strict=True)}
        self._clear()
        return TappedOutputs(logits_NK, features_ND, terms)

    def _clear(self) -> None:
        self._features.clear()
        for measured in self._measured:
            measured.clear()

